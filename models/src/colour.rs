//! Colour as stains make it: optical density, the share of hematoxylin, and what the colours of a training set are like.
//!
//! Sums are of whole numbers, so that they depend neither on the order of pixels nor on how an image is cut.

use std::ops::AddAssign;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::stains::{STAINS, cross, dot};

/// Side of the square cells over which colours are averaged, in pixels at the model's scale.
pub const CELL: usize = 128;

/// Thousandths of optical density above which a pixel is stained, the mean of its channels.
const STAINED: u32 = 100;
/// A cell has a colour if one in so many of its pixels is stained.
const LEAST_SHARE: u64 = 20;
/// Cells of training images with fewer pixels tell nothing.
const LEAST_PIXELS: usize = 1024;
/// Optical densities this close are one colour: added to the deviation of every channel.
const SAME_WITHIN: f64 = 0.05;

/// `-1000 log10((v + 1) / 256)`, rounded: thousandths of optical density, for light of 255 behind the tissue.
static DENSITY: LazyLock<[u32; 256]> =
    LazyLock::new(|| std::array::from_fn(|v| (-1000.0 * ((v + 1) as f64 / 256.0).log10()).round() as u32));

/// Sums over pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColourSum {
    /// Pixels.
    pub pixels: u64,
    /// Sums of red, green and blue.
    pub rgb: [u64; 3],
    /// Sums of their optical densities in thousandths.
    pub density: [u64; 3],
}

impl ColourSum {
    /// Adds pixels, three bytes each.
    pub fn add(&mut self, pixels: &[u8]) {
        let density = &*DENSITY;
        for pixel in pixels.as_chunks::<3>().0 {
            for c in 0..3 {
                self.rgb[c] += u64::from(pixel[c]);
                self.density[c] += u64::from(density[usize::from(pixel[c])]);
            }
        }
        self.pixels += (pixels.len() / 3) as u64;
    }

    /// Adds those of the pixels that are stained.
    pub fn add_stained(&mut self, pixels: &[u8]) {
        let density = &*DENSITY;
        for pixel in pixels.as_chunks::<3>().0 {
            if pixel.iter().map(|&v| density[usize::from(v)]).sum::<u32>() > 3 * STAINED {
                self.add(pixel);
            }
        }
    }

    /// Mean red, green and blue; 0 where there are no pixels.
    pub fn mean_rgb(&self) -> [f64; 3] {
        self.rgb.map(|sum| sum as f64 / self.pixels.max(1) as f64)
    }

    /// Mean optical densities of red, green and blue.
    pub fn mean_density(&self) -> [f64; 3] {
        self.density.map(|sum| sum as f64 / 1000.0 / self.pixels.max(1) as f64)
    }

    /// Mean optical density of hematoxylin, by colour deconvolution with fixed vectors for hematoxylin, eosin and what is at right
    /// angles to both (Ruifrok and Johnston 2001); it can be a little below 0.
    pub fn hematoxylin(&self) -> f64 {
        dot(self.mean_density(), STAINS.amounts[0])
    }
}

impl AddAssign for ColourSum {
    fn add_assign(&mut self, other: Self) {
        self.pixels += other.pixels;
        for c in 0..3 {
            self.rgb[c] += other.rgb[c];
            self.density[c] += other.density[c];
        }
    }
}

/// The colour of a cell: mean optical densities of its stained pixels; `None`: it has too few of them.
pub fn of_cell(stained: &ColourSum, pixels: u64) -> Option<[f64; 3]> {
    (stained.pixels * LEAST_SHARE >= pixels.max(1)).then(|| stained.mean_density())
}

/// What the colours of a training set are like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourStatistics {
    /// Mean of the cells' colours: optical densities of red, green and blue.
    pub mean: [f64; 3],
    /// Their covariance.
    pub covariance: [[f64; 3]; 3],
    /// Cells that were looked at.
    pub cells: usize,
}

impl ColourStatistics {
    /// Of the cells of images, each given by its bytes (red, green, blue) and its width; `None`: no cell is stained.
    pub fn of_images<'a>(images: impl IntoIterator<Item = (&'a [u8], usize)>) -> Option<Self> {
        Self::of_colours(&images.into_iter().flat_map(|(pixels, width)| cells(pixels, width)).collect::<Vec<_>>())
    }

    /// Of the colours of cells.
    pub fn of_colours(colours: &[[f64; 3]]) -> Option<Self> {
        let n = colours.len() as f64;
        let mean = [0, 1, 2].map(|c| colours.iter().map(|colour| colour[c]).sum::<f64>() / n);
        let product = |a: usize, b: usize| colours.iter().map(|colour| (colour[a] - mean[a]) * (colour[b] - mean[b])).sum::<f64>() / n;
        let covariance = [0, 1, 2].map(|a| [0, 1, 2].map(|b| product(a, b)));
        (!colours.is_empty()).then_some(Self { mean, covariance, cells: colours.len() })
    }

    /// How many deviations a colour lies from the mean (Mahalanobis' distance, each channel's deviation widened by 0.05).
    pub fn distance(&self, colour: [f64; 3]) -> f64 {
        let mut wide = self.covariance;
        (0..3).for_each(|c| wide[c][c] += SAME_WITHIN * SAME_WITHIN);
        let away = [0, 1, 2].map(|c| colour[c] - self.mean[c]);
        // The inverse of a symmetric matrix, by its rows' cross products.
        let volume = dot(wide[0], cross(wide[1], wide[2]));
        let adjugate = [cross(wide[1], wide[2]), cross(wide[2], wide[0]), cross(wide[0], wide[1])];
        let solved = adjugate.map(|row| dot(row, away) / volume);
        dot(solved, away).max(0.0).sqrt()
    }
}

fn cells(pixels: &[u8], width: usize) -> Vec<[f64; 3]> {
    let mut colours = Vec::new();
    for rows in pixels.chunks(width.max(1) * 3 * CELL) {
        for x in (0..width).step_by(CELL) {
            let mut stained = ColourSum::default();
            let columns = x * 3..(x + CELL).min(width) * 3;
            rows.chunks_exact(width * 3).for_each(|row| stained.add_stained(&row[columns.clone()]));
            let size = rows.len() / (width * 3) * columns.len() / 3;
            colours.extend((size >= LEAST_PIXELS).then(|| of_cell(&stained, size as u64)).flatten());
        }
    }
    colours
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The byte that lets through so much light.
    fn byte(density: f64) -> u8 {
        (256.0 * 10f64.powf(-density) - 1.0).round() as u8
    }

    #[test]
    fn a_mixture_of_stains_is_taken_apart() {
        let [h, e, _] = STAINS.vectors;
        for (of_h, of_e) in [(0.8, 0.0), (0.0, 0.7), (0.5, 0.4)] {
            let mut sum = ColourSum::default();
            sum.add(&[0, 1, 2].map(|c| byte(of_h * h[c] + of_e * e[c])));
            assert!((sum.hematoxylin() - of_h).abs() < 0.01, "{of_h} {of_e}: {}", sum.hematoxylin());
        }
        let mut glass = ColourSum::default();
        glass.add(&[255; 30]);
        assert_eq!((glass.pixels, glass.hematoxylin(), glass.mean_rgb()), (10, 0.0, [255.0; 3]));
    }

    #[test]
    fn distances_are_those_of_the_covariance() {
        let colours = [[0.2, 0.4, 0.2], [0.4, 0.8, 0.4], [0.3, 0.6, 0.3], [0.3, 0.6, 0.5]];
        let statistics = ColourStatistics::of_colours(&colours).unwrap();
        assert!(statistics.distance(statistics.mean) < 1e-9);
        // A step of the widened covariance times w is as long as w is by that matrix.
        let mut wide = statistics.covariance;
        (0..3).for_each(|c| wide[c][c] += 0.0025);
        for w in [[1.0, 0.0, 0.0], [3.0, -7.0, 2.0], [0.2, 0.1, -9.0], [-4.0, 4.0, 4.0]] {
            let step = wide.map(|row| dot(row, w));
            let found = statistics.distance([0, 1, 2].map(|c| statistics.mean[c] + step[c]));
            assert!((found - dot(step, w).sqrt()).abs() < 1e-9, "{w:?}: {found}");
        }
        let one = ColourStatistics::of_colours(&colours[..1]).unwrap();
        assert!((one.distance([0.3, 0.4, 0.2]) - 2.0).abs() < 1e-9);
        assert_eq!(ColourStatistics::of_colours(&[]), None);
    }

    #[test]
    fn blank_cells_have_no_colour_and_borders_are_cells_of_their_own() {
        let (width, height) = (200, 150);
        let mut picture = vec![250; width * height * 3];
        assert_eq!(ColourStatistics::of_images([(picture.as_slice(), width)]), None);
        for y in 0..height {
            picture[y * width * 3..(y * width + 100) * 3].copy_from_slice(&[180, 90, 160].repeat(100));
        }
        let statistics = ColourStatistics::of_images([(picture.as_slice(), width)]).unwrap();
        assert_eq!(statistics.cells, 2);
        assert!((statistics.mean[1] - (256.0_f64 / 91.0).log10()).abs() < 1e-3 && statistics.covariance[1][1] < 1e-12);
    }
}

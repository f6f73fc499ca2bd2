//! Colour statistics: optical density, hematoxylin, and the distribution of colours in a training set.
//!
//! Sums are integers, so that they depend neither on the order of pixels nor on the division of an image into parts.

use std::ops::AddAssign;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::stains::{STAINS, cross, dot};

/// Side in pixels, at the model's scale, of the square grid tiles over which colours are averaged.
pub const GRID_TILE: usize = 128;

/// Mean optical density over the channels, in thousandths, above which a pixel counts as stained.
const STAINED: u32 = 100;
/// A grid tile has a colour if at least one pixel in this many is stained.
const MAX_PIXELS_PER_STAINED: u64 = 20;
/// Smallest number of pixels of a grid tile of a training image; smaller ones at the border are skipped.
const MIN_PIXELS: usize = 1024;
/// Standard deviation in optical density that is added to each channel (in quadrature), so that colours this close count as equal.
const TOLERANCE: f64 = 0.05;

/// Optical density of each byte in thousandths, `-1000 log10((v + 1) / 256)` rounded; 255 is the value without tissue.
static DENSITY: LazyLock<[u32; 256]> =
    LazyLock::new(|| std::array::from_fn(|v| (-1000.0 * ((v + 1) as f64 / 256.0).log10()).round() as u32));

/// Sums of colours over pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColourSum {
    /// Number of pixels.
    pub pixels: u64,
    /// Sums of red, green and blue.
    pub rgb: [u64; 3],
    /// Sums of the optical densities of red, green and blue, in thousandths.
    pub density: [u64; 3],
}

impl ColourSum {
    /// Adds RGB pixels, three bytes each.
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

    /// Adds the stained ones of RGB pixels.
    pub fn add_stained(&mut self, pixels: &[u8]) {
        let density = &*DENSITY;
        for pixel in pixels.as_chunks::<3>().0 {
            if pixel.iter().map(|&v| density[usize::from(v)]).sum::<u32>() > 3 * STAINED {
                self.add(pixel);
            }
        }
    }

    /// Returns mean red, green and blue; 0 without pixels.
    pub fn mean_rgb(&self) -> [f64; 3] {
        self.rgb.map(|sum| sum as f64 / self.pixels.max(1) as f64)
    }

    /// Returns the mean optical densities of red, green and blue; 0 without pixels.
    pub fn mean_density(&self) -> [f64; 3] {
        self.density.map(|sum| sum as f64 / 1000.0 / self.pixels.max(1) as f64)
    }

    /// Returns the mean optical density of hematoxylin by colour deconvolution with [`STAINS`]; it can be slightly negative.
    pub fn hematoxylin(&self) -> f64 {
        dot(self.mean_density(), STAINS.unmixing[0])
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

/// Returns the colour of a grid tile of `pixels` pixels: the mean optical densities of its stained pixels, or `None` if fewer than one in 20
/// is stained.
pub fn of_grid_tile(stained: &ColourSum, pixels: u64) -> Option<[f64; 3]> {
    (stained.pixels * MAX_PIXELS_PER_STAINED >= pixels.max(1)).then(|| stained.mean_density())
}

/// Mean and covariance of the colours of a training set's grid tiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourStatistics {
    /// Mean optical densities of red, green and blue.
    pub mean: [f64; 3],
    /// Covariance of the optical densities.
    pub covariance: [[f64; 3]; 3],
    /// Number of grid tiles.
    #[serde(rename = "cells")]
    pub grid_tiles: usize,
}

impl ColourStatistics {
    /// Computes the statistics over the grid tiles of images, each given by its RGB bytes and its width; `None` if no tile is stained.
    pub fn of_images<'a>(images: impl IntoIterator<Item = (&'a [u8], usize)>) -> Option<Self> {
        Self::of_colours(&images.into_iter().flat_map(|(pixels, width)| grid_tile_colours(pixels, width)).collect::<Vec<_>>())
    }

    /// Computes the statistics of the colours of grid tiles; `None` without colours.
    pub fn of_colours(colours: &[[f64; 3]]) -> Option<Self> {
        let n = colours.len() as f64;
        let mean = [0, 1, 2].map(|c| colours.iter().map(|colour| colour[c]).sum::<f64>() / n);
        let product = |a: usize, b: usize| colours.iter().map(|colour| (colour[a] - mean[a]) * (colour[b] - mean[b])).sum::<f64>() / n;
        let covariance = [0, 1, 2].map(|a| [0, 1, 2].map(|b| product(a, b)));
        (!colours.is_empty()).then_some(Self { mean, covariance, grid_tiles: colours.len() })
    }

    /// Returns the Mahalanobis distance of a colour from the mean, with 0.05^2 added to the variance of each channel.
    pub fn distance(&self, colour: [f64; 3]) -> f64 {
        let mut covariance = self.covariance;
        (0..3).for_each(|c| covariance[c][c] += TOLERANCE * TOLERANCE);
        let deviation = [0, 1, 2].map(|c| colour[c] - self.mean[c]);
        // The adjugate of a symmetric 3x3 matrix consists of the cross products of its rows.
        let [a, b, c] = covariance;
        let determinant = dot(a, cross(b, c));
        let solved = [cross(b, c), cross(c, a), cross(a, b)].map(|row| dot(row, deviation) / determinant);
        dot(solved, deviation).max(0.0).sqrt()
    }
}

/// Returns the colours of the stained grid tiles of an image.
fn grid_tile_colours(pixels: &[u8], width: usize) -> Vec<[f64; 3]> {
    let mut colours = Vec::new();
    for rows in pixels.chunks(width.max(1) * 3 * GRID_TILE) {
        for x in (0..width).step_by(GRID_TILE) {
            let mut stained = ColourSum::default();
            let columns = x * 3..(x + GRID_TILE).min(width) * 3;
            rows.chunks_exact(width * 3).for_each(|row| stained.add_stained(&row[columns.clone()]));
            let size = rows.len() / (width * 3) * columns.len() / 3;
            colours.extend((size >= MIN_PIXELS).then(|| of_grid_tile(&stained, size as u64)).flatten());
        }
    }
    colours
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The byte with this optical density.
    fn byte(density: f64) -> u8 {
        (256.0 * 10f64.powf(-density) - 1.0).round() as u8
    }

    #[test]
    fn the_hematoxylin_in_a_mixture_of_stains_is_measured() {
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
    fn distances_are_mahalanobis_distances() {
        let colours = [[0.2, 0.4, 0.2], [0.4, 0.8, 0.4], [0.3, 0.6, 0.3], [0.3, 0.6, 0.5]];
        let statistics = ColourStatistics::of_colours(&colours).unwrap();
        assert!(statistics.distance(statistics.mean) < 1e-9);
        // The Mahalanobis length of the step `covariance * w` is sqrt(w^T covariance w).
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
    fn blank_grid_tiles_have_no_colour_and_tiles_at_the_border_are_cut() {
        let (width, height) = (200, 150);
        let mut picture = vec![250; width * height * 3];
        assert_eq!(ColourStatistics::of_images([(picture.as_slice(), width)]), None);
        for y in 0..height {
            picture[y * width * 3..(y * width + 100) * 3].copy_from_slice(&[180, 90, 160].repeat(100));
        }
        let statistics = ColourStatistics::of_images([(picture.as_slice(), width)]).unwrap();
        assert_eq!(statistics.grid_tiles, 2);
        assert!((statistics.mean[1] - (256.0_f64 / 91.0).log10()).abs() < 1e-3 && statistics.covariance[1][1] < 1e-12);
    }
}

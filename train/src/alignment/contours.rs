//! Gradient magnitude on the contours of a probability map at every level, and the threshold with the strongest edges under its contours.

use models::decode::Decoding;
use models::plane::Plane;

use super::Edges;

/// Gradient magnitude that a contour pixel must exceed to add to the score, in multiples of the image's mean gradient.
///
/// The score is the sum of the excess over this baseline, not the mean edge, because the mean is highest at thresholds at which only the
/// darkest nuclei remain. With the sum, a lost nucleus loses its share of the score, and a contour through uniform background costs
/// in proportion to its length.
const BASELINE: f64 = 2.0;

/// Smallest conclusive score, per pixel of the longest contours. Measured values are 2 to 10 on fluorescence and bright-field images, about
/// .5 on H&E with distinct nuclei, and around 0 at every threshold on crowded H&E.
const MIN_SCORE: f64 = 0.1;

/// Candidate thresholds: .1, .15, ... .95. The range ends where a step of 1/255 in probability would move many pixels.
pub fn thresholds() -> impl Iterator<Item = f64> {
    (2..=19).map(|k| f64::from(k) / 20.0)
}

/// Contour statistics of one image for the masks `p >= level` of all 256 levels: length in pixels and sum of the gradient magnitude.
pub struct Contours {
    pixels: [u64; 256],
    edges: [f64; 256],
}

impl Contours {
    /// Accumulates the statistics of all levels in one pass over the image.
    ///
    /// A pixel lies on the contour of a mask if the mask contains the pixel but not all of its four neighbours; the image border is no
    /// contour. `levels` are quantised probabilities (`round(255 p)`), of the size of `edges`.
    pub fn of(levels: &Plane<u8>, edges: &Edges) -> Self {
        let (w, h) = (levels.width, levels.height);
        assert_eq!((w, h), (edges.0.width, edges.0.height), "probabilities and edges of one image");
        let mut contours = Self { pixels: [0; 256], edges: [0.0; 256] };
        for y in 0..h {
            let [above, row, below] = [y.saturating_sub(1), y, (y + 1).min(h - 1)].map(|y| levels.row(y));
            for x in 0..w {
                let lowest_neighbour = above[x].min(below[x]).min(row[x.saturating_sub(1)]).min(row[(x + 1).min(w - 1)]);
                contours.add(lowest_neighbour, row[x], edges.0.at(x, y));
            }
        }
        contours
    }

    /// Adds a pixel to the contours of all levels above its lowest neighbour's level, up to its own.
    fn add(&mut self, neighbour: u8, own: u8, edge: f32) {
        for level in usize::from(neighbour) + 1..=usize::from(own) {
            self.pixels[level] += 1;
            self.edges[level] += f64::from(edge);
        }
    }

    /// Returns the score of one level: the sum over its contour of the gradient magnitude above `BASELINE`.
    fn excess(&self, level: u8) -> f64 {
        self.edges[usize::from(level)] - BASELINE * self.pixels[usize::from(level)] as f64
    }
}

/// Returns the score and the contour length in pixels at a threshold, summed over all images.
fn score_at(images: &[&Contours], threshold: f64) -> (f64, f64) {
    let level = Decoding { threshold, ..Decoding::default() }.first_foreground_level();
    let length: u64 = images.iter().map(|image| image.pixels[usize::from(level)]).sum();
    (images.iter().map(|image| image.excess(level)).sum(), length as f64)
}

/// Returns the candidate threshold with the highest score, the lowest one of ties.
///
/// The score is the sum, over the contours of all images, of the gradient magnitude above `BASELINE`. Returns `None` if the edges are
/// inconclusive: no score reaches `MIN_SCORE` times the length of the longest contours.
pub fn best_threshold<'a>(images: impl IntoIterator<Item = &'a Contours>) -> Option<f64> {
    let images: Vec<&Contours> = images.into_iter().collect();
    let (mut best, mut longest) = ((None, 0.0), 0.0f64);
    for threshold in thresholds() {
        let (score, length) = score_at(&images, threshold);
        longest = longest.max(length);
        if score > best.1 {
            best = (Some(threshold), score);
        }
    }
    best.0.filter(|_| best.1 >= MIN_SCORE * longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alignment::synthetic::{dark_and_pale, disc, noise};
    use crate::rng::CounterRng;

    #[test]
    fn the_best_threshold_is_the_probability_at_the_border() {
        for at_border in [0.3f32, 0.5, 0.8] {
            let (image, levels) = disc(at_border);
            let found = best_threshold([&Contours::of(&levels, &Edges::of(&image))]).unwrap();
            assert!((found - f64::from(at_border)).abs() <= 0.1, "{found} at {at_border}");
        }
    }

    #[test]
    fn statistics_match_the_definition_of_a_contour_pixel_by_pixel() {
        let mut rng = CounterRng::new(3, "contours", 0, 0, 0);
        let levels = Plane { width: 13, height: 9, data: (0..13 * 9).map(|_| rng.below(256) as u8).collect() };
        let edges = Edges(levels.map(|_| rng.below(100) as f32));
        let contours = Contours::of(&levels, &edges);
        for level in [1, 60, 128, 200, 255u8] {
            let (mut pixels, mut sum) = (0, 0.0);
            for (x, y) in (0..13usize).flat_map(|x| (0..9usize).map(move |y| (x, y))) {
                let outside = |dx: isize, dy: isize| {
                    let (x, y) = (x.wrapping_add_signed(dx), y.wrapping_add_signed(dy));
                    x < 13 && y < 9 && levels.at(x, y) < level
                };
                if levels.at(x, y) >= level && (outside(1, 0) || outside(-1, 0) || outside(0, 1) || outside(0, -1)) {
                    pixels += 1;
                    sum += f64::from(edges.0.at(x, y));
                }
            }
            assert_eq!((contours.pixels[usize::from(level)], contours.edges[usize::from(level)]), (pixels, sum), "{level}");
        }
    }

    #[test]
    fn images_without_contours_are_inconclusive_and_do_not_change_the_result() {
        let (image, levels) = disc(0.8);
        let edges = Edges::of(&image);
        let empty = Contours::of(&levels.map(|_| 0), &edges);
        let disc = Contours::of(&levels, &edges);
        assert_eq!(best_threshold([&empty]), None);
        assert_eq!(best_threshold([]), None);
        assert_eq!(best_threshold([&empty, &empty, &disc]), best_threshold([&disc]));
    }

    #[test]
    fn noise_is_inconclusive() {
        let (image, levels) = noise();
        assert_eq!(best_threshold([&Contours::of(&levels, &Edges::of(&image))]), None);
    }

    /// The higher threshold keeps only the dark nucleus and has the stronger edges on average, but the lower sum.
    #[test]
    fn pale_nuclei_with_weak_edges_are_kept() {
        let (image, levels) = dark_and_pale();
        let found = best_threshold([&Contours::of(&levels, &Edges::of(&image))]).unwrap();
        assert!(found < 130.0 / 255.0, "{found} loses the pale nucleus");
    }
}

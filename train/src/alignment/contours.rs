//! Contours of a probability map at every level, and the threshold whose contours lie on the strongest edges.

use models::decode::Decoding;
use models::plane::Plane;

use super::Edges;

/// What an edge must exceed to speak for a contour: twice the image's mean gradient.
///
/// The mean edge on a contour would be highest where only the darkest nuclei are left; so contours count by the sum of what their edges
/// are above this. A nucleus that is lost takes its sum along, and a contour through even ground costs as much as it is long.
const EVEN: f64 = 2.0;

/// The least sum that says something, for a pixel of the longest contours. It is 2 to 10 on fluorescence and bright field, about .5 on
/// H&E with clear nuclei, and around 0, at any threshold, on crowded H&E.
const LEAST: f64 = 0.1;

/// Thresholds that are tried: .1, .15, ... .95. Far enough from the ends that a level of 1/255 moves few pixels.
pub fn thresholds() -> impl Iterator<Item = f64> {
    (2..=19).map(|k| f64::from(k) / 20.0)
}

/// Pixels on one image's contours, and what the edges there sum to: of `p >= level` for every level.
pub struct Contours {
    pixels: [u64; 256],
    edges: [f64; 256],
}

impl Contours {
    /// A pixel lies on the contour of a mask if it belongs to it and one of its four neighbours does not; the border of the image is no
    /// contour. `levels` are quantised probabilities, of the size of the image.
    pub fn of(levels: &Plane<u8>, edges: &Edges) -> Self {
        let (w, h) = (levels.width, levels.height);
        assert_eq!((w, h), (edges.0.width, edges.0.height), "probabilities and edges of one image");
        let mut contours = Self { pixels: [0; 256], edges: [0.0; 256] };
        for y in 0..h {
            let [above, row, below] = [y.saturating_sub(1), y, (y + 1).min(h - 1)].map(|y| levels.row(y));
            for x in 0..w {
                let lowest = above[x].min(below[x]).min(row[x.saturating_sub(1)]).min(row[(x + 1).min(w - 1)]);
                contours.add(lowest, row[x], edges.0.at(x, y));
            }
        }
        contours
    }

    /// A pixel that is in the mask up to its own level, and has a neighbour outside above that one's.
    fn add(&mut self, neighbour: u8, own: u8, edge: f32) {
        for level in usize::from(neighbour) + 1..=usize::from(own) {
            self.pixels[level] += 1;
            self.edges[level] += f64::from(edge);
        }
    }

    /// Sum over the contour from this level on of what the edges are above [`EVEN`].
    fn excess(&self, level: u8) -> f64 {
        self.edges[usize::from(level)] - EVEN * self.pixels[usize::from(level)] as f64
    }
}

/// Over the contours of all images at a threshold: the sum of what edges are above [`EVEN`], and the contours' length in pixels.
fn at(images: &[&Contours], threshold: f64) -> (f64, f64) {
    let level = Decoding { threshold, ..Decoding::default() }.first_foreground_level();
    let length: u64 = images.iter().map(|image| image.pixels[usize::from(level)]).sum();
    (images.iter().map(|image| image.excess(level)).sum(), length as f64)
}

/// The threshold with the highest sum, over the contours of all images, of what edges are above twice their image's mean; the lowest of
/// equal ones. `None` where edges say nothing: no sum is above a tenth of the length of the longest contours.
pub fn best_threshold<'a>(images: impl IntoIterator<Item = &'a Contours>) -> Option<f64> {
    let images: Vec<&Contours> = images.into_iter().collect();
    let (mut best, mut longest) = ((None, 0.0), 0.0f64);
    for threshold in thresholds() {
        let (sum, length) = at(&images, threshold);
        longest = longest.max(length);
        if sum > best.1 {
            best = (Some(threshold), sum);
        }
    }
    best.0.filter(|_| best.1 >= LEAST * longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alignment::pictures::{dark_and_pale, disc, noise};
    use crate::rng::CounterRng;

    #[test]
    fn the_threshold_is_the_probability_at_the_border() {
        for half in [0.3f32, 0.5, 0.8] {
            let (image, levels) = disc(half);
            let found = best_threshold([&Contours::of(&levels, &Edges::of(&image))]).unwrap();
            assert!((found - f64::from(half)).abs() <= 0.1, "{found} at {half}");
        }
    }

    #[test]
    fn counts_are_those_of_the_definition() {
        let mut draw = CounterRng::new(3, "contours", 0, 0, 0);
        let levels = Plane { width: 13, height: 9, data: (0..13 * 9).map(|_| draw.below(256) as u8).collect() };
        let edges = Edges(levels.map(|_| draw.below(100) as f32));
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
    fn images_without_contours_say_nothing() {
        let (image, levels) = disc(0.8);
        let edges = Edges::of(&image);
        let empty = Contours::of(&levels.map(|_| 0), &edges);
        let disc = Contours::of(&levels, &edges);
        assert_eq!(best_threshold([&empty]), None);
        assert_eq!(best_threshold([]), None);
        assert_eq!(best_threshold([&empty, &empty, &disc]), best_threshold([&disc]));
    }

    /// Noise has no contour that is better than others by more than chance.
    #[test]
    fn edges_of_noise_say_nothing() {
        let (image, levels) = noise();
        assert_eq!(best_threshold([&Contours::of(&levels, &Edges::of(&image))]), None);
    }

    /// A dark nucleus that the network is sure of and a pale one that it is not: the higher threshold has the stronger edges on average.
    #[test]
    fn pale_nuclei_count_although_their_edges_are_weak() {
        let (image, levels) = dark_and_pale();
        let found = best_threshold([&Contours::of(&levels, &Edges::of(&image))]).unwrap();
        assert!(found < 130.0 / 255.0, "{found} loses the pale one");
    }
}

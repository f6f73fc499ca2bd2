//! Probability map to instances. Training scores and slides decode in the same way; `infer` streams what is defined here.

use serde::{Deserialize, Serialize};

use crate::plane::Plane;

/// How a probability map becomes nuclei. Part of the model card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decoding {
    /// A pixel belongs to a nucleus when its probability, rounded to n / 255, is greater than this.
    pub threshold: f64,
    /// Components with fewer pixels (at the model's scale, before holes are filled) are dropped.
    pub min_area_px: usize,
    /// Whether holes in nuclei are filled.
    pub fill_holes: bool,
}

/// The papers' values: threshold .5, components under 64 px dropped, holes filled.
impl Default for Decoding {
    fn default() -> Self {
        Self { threshold: 0.5, min_area_px: 64, fill_holes: true }
    }
}

impl Decoding {
    /// The smallest quantised probability that counts as nucleus.
    pub fn first_foreground_level(&self) -> u8 {
        (0..=255u8).find(|&level| f64::from(level) / 255.0 > self.threshold).unwrap_or(255)
    }
}

/// `round(255 p)`, ties to even: what the exported graph returns for a probability.
pub fn quantise(probability: f32) -> u8 {
    (probability.clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// Instances of a quantised probability map: threshold, 8-connected components, small ones dropped, holes filled, relabelled.
///
/// Ids run from 1 in raster order of each instance's first pixel; 0 is background.
pub fn instances(probability: &Plane<u8>, decoding: &Decoding) -> Plane<u32> {
    let level = decoding.first_foreground_level();
    instances_of_mask(&probability.map(|&p| p >= level), decoding)
}

/// Instances of a binary mask; the threshold of `decoding` plays no part.
pub fn instances_of_mask(mask: &Plane<bool>, decoding: &Decoding) -> Plane<u32> {
    let mut kept = without_small(&components(mask), decoding.min_area_px).map(|&id| id > 0);
    if decoding.fill_holes {
        kept = fill_holes(&kept);
    }
    components(&kept)
}

/// 8-connected components of `mask`, numbered from 1 in raster order.
pub fn components(mask: &Plane<bool>) -> Plane<u32> {
    const AROUND: [(isize, isize); 8] = [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)];
    let mut labels = Plane::filled(mask.width, mask.height, 0);
    let mut next = 0;
    for start in 0..mask.data.len() {
        if mask.data[start] && labels.data[start] == 0 {
            next += 1;
            flood(&mut labels, start, next, &AROUND, |i| mask.data[i]);
        }
    }
    labels
}

/// The map with instances of fewer than `min_area_px` pixels removed; other ids stay.
pub fn without_small(labels: &Plane<u32>, min_area_px: usize) -> Plane<u32> {
    let mut area = vec![0; labels.data.iter().max().map_or(0, |&id| id as usize) + 1];
    labels.data.iter().for_each(|&id| area[id as usize] += 1);
    labels.map(|&id| if area[id as usize] < min_area_px { 0 } else { id })
}

/// The mask with every 4-connected background region that does not touch the image border filled.
pub fn fill_holes(mask: &Plane<bool>) -> Plane<bool> {
    const AROUND: [(isize, isize); 4] = [(0, -1), (-1, 0), (1, 0), (0, 1)];
    let (width, height) = (mask.width, mask.height);
    let mut outside = Plane::filled(width, height, 0);
    let border = (0..width).flat_map(|x| [x, (height - 1) * width + x]).chain((0..height).flat_map(|y| [y * width, (y + 1) * width - 1]));
    for start in border {
        if !mask.data[start] && outside.data[start] == 0 {
            flood(&mut outside, start, 1, &AROUND, |i| !mask.data[i]);
        }
    }
    outside.map(|&reached| reached == 0)
}

/// Labels everything connected to `start` for which `inside` holds and no label is set.
fn flood(labels: &mut Plane<u32>, start: usize, id: u32, around: &[(isize, isize)], inside: impl Fn(usize) -> bool) {
    let (width, height) = (labels.width as isize, labels.height as isize);
    let mut stack = vec![start];
    labels.data[start] = id;
    while let Some(i) = stack.pop() {
        let (x, y) = (i as isize % width, i as isize / width);
        for (dx, dy) in around {
            let (nx, ny) = (x + dx, y + dy);
            if nx < 0 || ny < 0 || nx >= width || ny >= height {
                continue;
            }
            let n = (ny * width + nx) as usize;
            if labels.data[n] == 0 && inside(n) {
                labels.data[n] = id;
                stack.push(n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> Plane<bool> {
        let data = rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect();
        Plane::new(rows[0].len(), rows.len(), data).unwrap()
    }

    #[test]
    fn a_ring_is_filled_and_what_touches_the_border_is_not() {
        let ring = mask(&["#####.#", "#...#.#", "#.#.#..", "#####.#"]);
        let decoding = Decoding { min_area_px: 2, ..Decoding::default() };
        let labels = instances_of_mask(&ring, &decoding);
        assert_eq!(labels.data.iter().filter(|&&id| id == 1).count(), 20);
        assert_eq!(labels.data.iter().filter(|&&id| id == 2).count(), 2);
        assert_eq!(labels.data.iter().max(), Some(&2));
    }

    #[test]
    fn the_threshold_is_strict_on_quantised_probabilities() {
        assert_eq!(Decoding::default().first_foreground_level(), 128);
        assert_eq!(quantise(0.5), 128);
        assert_eq!(quantise(0.498), 127);
        assert_eq!(Decoding { threshold: 0.0, ..Decoding::default() }.first_foreground_level(), 1);
    }
}

//! Decoding of a probability map into instances (nuclei). Training scores use these functions; `infer` computes the same result on slides in
//! a streaming way.

use serde::{Deserialize, Serialize};

use crate::holes;
use crate::labels::{BoundingBox, NEIGHBOURS_8, bounding_boxes, flood_fill, relabel_in_raster_order};
use crate::plane::Plane;
use crate::split::{self, Split};

/// Decoding parameters, stored in the model card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decoding {
    /// Probability above which a pixel is foreground; compared with the quantised probability n / 255.
    pub threshold: f64,
    /// Smallest area of a component in pixels at the model's scale, before holes are filled; smaller components are removed.
    pub min_area_px: usize,
    /// Fills holes in nuclei.
    pub fill_holes: bool,
    /// Splitting of touching nuclei; `None` (the default for cards without this entry) takes each component as one nucleus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

/// The values of the Scribble2Label papers: threshold .5, at least 64 px, holes filled, no splitting.
impl Default for Decoding {
    fn default() -> Self {
        Self { threshold: 0.5, min_area_px: 64, fill_holes: true, split: None }
    }
}

impl Decoding {
    /// Returns the default of new models: the papers' values, with splitting of touching nuclei.
    pub fn splitting() -> Self {
        Self { split: Some(Split::default()), ..Self::default() }
    }

    /// Returns the lowest quantised probability that counts as foreground.
    pub fn first_foreground_level(&self) -> u8 {
        (0..=255u8).find(|&level| f64::from(level) / 255.0 > self.threshold).unwrap_or(255)
    }
}

/// Quantises a probability as the exported graph does: `round(255 p)`, ties to even.
pub fn quantise(probability: f32) -> u8 {
    (probability.clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// Decodes a quantised probability map: threshold, 8-connected components, removal of small components, hole filling, splitting of touching
/// nuclei if [`Decoding::split`] is set.
///
/// Ids run from 1 in raster order of each instance's first pixel; 0 is background.
pub fn instances(probability: &Plane<u8>, decoding: &Decoding) -> Plane<u32> {
    let level = decoding.first_foreground_level();
    instances_of_mask(&probability.map(|&p| p >= level), decoding)
}

/// Decodes a binary mask like [`instances`], without the threshold.
pub fn instances_of_mask(mask: &Plane<bool>, decoding: &Decoding) -> Plane<u32> {
    let large = without_small(&components(mask), decoding.min_area_px);
    if let Some(split) = &decoding.split {
        return split_components(&large, split, decoding.fill_holes);
    }
    let mut kept = large.map(|&id| id > 0);
    if decoding.fill_holes {
        kept = fill_holes(&kept);
    }
    components(&kept)
}

/// Splits each component on its own, see [`split::nuclei`]. Components are painted by ascending area of their bounding boxes, so that a
/// component inside a filled hole becomes part of the nucleus around it.
fn split_components(labels: &Plane<u32>, split: &Split, fill: bool) -> Plane<u32> {
    let mut all: Vec<(u32, BoundingBox)> = bounding_boxes(labels).into_iter().zip(1..).map(|(bounds, id)| (id, bounds)).collect();
    all.retain(|(_, bounds)| bounds.area() > 0);
    all.sort_by_key(|(_, bounds)| bounds.area());
    let mut nuclei = Plane::filled(labels.width, labels.height, 0);
    let mut last = 0;
    for (id, bounds) in all {
        let mut own = split::nuclei(bounds.crop(labels, |label| label == id), split, fill);
        let count = own.data.iter().copied().max().unwrap_or(0);
        own.data.iter_mut().filter(|nucleus| **nucleus > 0).for_each(|nucleus| *nucleus += last);
        bounds.paint(&mut nuclei, &own);
        last += count;
    }
    relabel_in_raster_order(&mut nuclei);
    nuclei
}

/// Labels the 8-connected components of `mask`, numbered from 1 in raster order of their first pixels.
pub fn components(mask: &Plane<bool>) -> Plane<u32> {
    let mut labels = Plane::filled(mask.width, mask.height, 0);
    let mut next = 0;
    for start in 0..mask.data.len() {
        if mask.data[start] && labels.data[start] == 0 {
            next += 1;
            flood_fill(&mut labels, start, next, &NEIGHBOURS_8, |i| mask.data[i]);
        }
    }
    labels
}

/// Removes instances of fewer than `min_area_px` pixels; other ids stay.
pub fn without_small(labels: &Plane<u32>, min_area_px: usize) -> Plane<u32> {
    let mut area = vec![0; labels.data.iter().max().map_or(0, |&id| id as usize) + 1];
    labels.data.iter().for_each(|&id| area[id as usize] += 1);
    labels.map(|&id| if area[id as usize] < min_area_px { 0 } else { id })
}

/// Fills every 4-connected background region that does not touch the image border.
pub fn fill_holes(mask: &Plane<bool>) -> Plane<bool> {
    let mut filled = mask.clone();
    holes::fill(&mut filled, usize::MAX);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> Plane<bool> {
        let data = rows.iter().flat_map(|row| row.bytes().map(|b| b == b'#')).collect();
        Plane::new(rows[0].len(), rows.len(), data).unwrap()
    }

    #[test]
    fn a_ring_is_filled_and_a_background_region_at_the_border_is_not() {
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

    #[test]
    fn decoding_without_the_entry_does_not_split() {
        let old = r#"{"threshold":0.5,"min_area_px":64,"fill_holes":true}"#;
        let decoding: Decoding = serde_json::from_str(old).unwrap();
        assert_eq!(decoding, Decoding::default());
        assert_eq!(serde_json::to_string(&decoding).unwrap(), old);
        let new = serde_json::to_string(&Decoding::splitting()).unwrap();
        assert_eq!(serde_json::from_str::<Decoding>(&new).unwrap(), Decoding::splitting());
    }
}

//! Probability map to instances. Training scores and slides decode in the same way; `infer` streams what is defined here.

use serde::{Deserialize, Serialize};

use crate::holes;
use crate::plane::Plane;
use crate::split::{self, Split};

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
    /// How touching nuclei are cut apart; `None`, as in cards that do not have it: a component is a nucleus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

/// The papers' values: threshold .5, components under 64 px dropped, holes filled, nothing cut apart.
impl Default for Decoding {
    fn default() -> Self {
        Self { threshold: 0.5, min_area_px: 64, fill_holes: true, split: None }
    }
}

impl Decoding {
    /// The papers' values, and touching nuclei cut apart: for new models.
    pub fn splitting() -> Self {
        Self { split: Some(Split::default()), ..Self::default() }
    }

    /// The smallest quantised probability that counts as nucleus.
    pub fn first_foreground_level(&self) -> u8 {
        (0..=255u8).find(|&level| f64::from(level) / 255.0 > self.threshold).unwrap_or(255)
    }
}

/// `round(255 p)`, ties to even: what the exported graph returns for a probability.
pub fn quantise(probability: f32) -> u8 {
    (probability.clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

/// Instances of a quantised probability map: threshold, 8-connected components, small ones dropped, holes filled, touching nuclei
/// cut apart if asked for, relabelled.
///
/// Ids run from 1 in raster order of each instance's first pixel; 0 is background.
pub fn instances(probability: &Plane<u8>, decoding: &Decoding) -> Plane<u32> {
    let level = decoding.first_foreground_level();
    instances_of_mask(&probability.map(|&p| p >= level), decoding)
}

/// Instances of a binary mask; the threshold of `decoding` plays no part.
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

/// Every component by itself, see [`split::nuclei`]. The larger box goes last: what lies in a filled hole becomes part of the
/// nucleus around it.
fn split_components(labels: &Plane<u32>, split: &Split, fill: bool) -> Plane<u32> {
    let mut all: Vec<(u32, Bounds)> = bounds(labels).into_iter().zip(1..).map(|(bounds, id)| (id, bounds)).collect();
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
    number_in_raster_order(&mut nuclei);
    nuclei
}

/// 8-connected components of `mask`, numbered from 1 in raster order.
pub fn components(mask: &Plane<bool>) -> Plane<u32> {
    let mut labels = Plane::filled(mask.width, mask.height, 0);
    let mut next = 0;
    for start in 0..mask.data.len() {
        if mask.data[start] && labels.data[start] == 0 {
            next += 1;
            flood(&mut labels, start, next, &AROUND_8, |i| mask.data[i]);
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
    let mut filled = mask.clone();
    holes::fill(&mut filled, usize::MAX);
    filled
}

const AROUND_8: [(isize, isize); 8] = [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)];
/// Background is connected by sides only.
#[cfg(test)]
pub(crate) const AROUND_4: [(isize, isize); 4] = [(0, -1), (-1, 0), (1, 0), (0, 1)];

/// Labels everything connected to `start` for which `inside` holds and no label is set; returns the number of pixels.
pub(crate) fn flood(labels: &mut Plane<u32>, start: usize, id: u32, around: &[(isize, isize)], inside: impl Fn(usize) -> bool) -> usize {
    let (width, height) = (labels.width as isize, labels.height as isize);
    let mut stack = vec![start];
    let mut count = 0;
    labels.data[start] = id;
    while let Some(i) = stack.pop() {
        count += 1;
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
    count
}

/// Gives labels numbers from 1 in raster order of their first pixels.
pub(crate) fn number_in_raster_order(labels: &mut Plane<u32>) {
    let mut number = vec![0; labels.data.iter().max().map_or(0, |&id| id as usize) + 1];
    let mut next = 0;
    for label in labels.data.iter_mut().filter(|label| **label > 0) {
        let number = &mut number[*label as usize];
        if *number == 0 {
            next += 1;
            *number = next;
        }
        *label = *number;
    }
}

/// A box of pixels, the last column and row not included; empty where it was never grown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    x: [usize; 2],
    y: [usize; 2],
}

/// The box of every label from 1 on.
pub(crate) fn bounds(labels: &Plane<u32>) -> Vec<Bounds> {
    let count = labels.data.iter().max().map_or(0, |&id| id as usize);
    let mut all = vec![Bounds { x: [usize::MAX, 0], y: [usize::MAX, 0] }; count];
    for y in 0..labels.height {
        for (x, &label) in labels.row(y).iter().enumerate().filter(|(_, label)| **label > 0) {
            let bounds = &mut all[label as usize - 1];
            bounds.x = [bounds.x[0].min(x), bounds.x[1].max(x + 1)];
            bounds.y = [bounds.y[0].min(y), bounds.y[1].max(y + 1)];
        }
    }
    all
}

impl Bounds {
    pub(crate) fn area(&self) -> usize {
        self.x[1].saturating_sub(self.x[0]) * self.y[1].saturating_sub(self.y[0])
    }

    pub(crate) fn crop(&self, labels: &Plane<u32>, inside: impl Fn(u32) -> bool) -> Plane<bool> {
        let rows = (self.y[0]..self.y[1]).flat_map(|y| &labels.row(y)[self.x[0]..self.x[1]]);
        Plane { width: self.x[1] - self.x[0], height: self.y[1] - self.y[0], data: rows.map(|&label| inside(label)).collect() }
    }

    /// Writes every label but 0 into its place.
    pub(crate) fn paint(&self, labels: &mut Plane<u32>, own: &Plane<u32>) {
        for y in 0..own.height {
            let row = &mut labels.row_mut(self.y[0] + y)[self.x[0]..self.x[1]];
            row.iter_mut().zip(own.row(y)).filter(|(_, own)| **own > 0).for_each(|(label, own)| *label = *own);
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

    #[test]
    fn a_card_without_the_field_cuts_nothing_apart() {
        let old = r#"{"threshold":0.5,"min_area_px":64,"fill_holes":true}"#;
        let decoding: Decoding = serde_json::from_str(old).unwrap();
        assert_eq!(decoding, Decoding::default());
        assert_eq!(serde_json::to_string(&decoding).unwrap(), old);
        let new = serde_json::to_string(&Decoding::splitting()).unwrap();
        assert_eq!(serde_json::from_str::<Decoding>(&new).unwrap(), Decoding::splitting());
    }
}

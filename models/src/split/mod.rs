//! Splitting of touching nuclei: a watershed on the distance map cuts each component of a mask at its necks.
//!
//! The exact Euclidean distance map is flooded from its peaks downwards, in a union-find forest of basins. The distance at which two basins
//! meet is the half-width of the neck between two nuclei. The basins merge if the neck is nearly as wide as the narrower of the two nuclei,
//! and stay separate otherwise. All arithmetic is on integers, and the result does not depend on the position of the component.

mod basins;

use serde::{Deserialize, Serialize};

use crate::distance::{LARGEST_BOX_PX, distances};
use crate::holes;
use crate::labels::{BoundingBox, bounding_boxes, relabel_in_raster_order};
use crate::plane::Plane;
use basins::{Basins, MergeRule};

/// Conditions for a split, all of which must hold. Lengths are in pixels at the model's scale; the defaults are measured
/// (docs/lab/splitting.md).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Split {
    /// Largest width of the neck as a fraction of the width of the narrower nucleus.
    pub neck: f64,
    /// Smallest difference between the half-widths of the narrower nucleus and of the neck.
    pub depth_px: f64,
    /// Smallest half-width of the narrower nucleus at its widest place.
    pub radius_px: f64,
    /// Largest area in pixels of holes that are filled before the split, if holes are filled at all; larger ones may lie between nuclei.
    pub hole_px: usize,
}

impl Default for Split {
    fn default() -> Self {
        Self { neck: 0.9, depth_px: 1.0, radius_px: 3.0, hole_px: 32 }
    }
}

/// Splits one component, given as the mask of its bounding box, into nuclei numbered from 1 in raster order of their first pixels; 0 is
/// background. Every nucleus is 8-connected.
///
/// With `fill`, small holes are filled before the split and all holes of each nucleus after the split; a nucleus inside such a hole becomes
/// part of the nucleus around it. A component whose bounding box has more than [`LARGEST_BOX_PX`] pixels is not split, so that working memory
/// is bounded.
pub fn nuclei(mut component: Plane<bool>, split: &Split, fill: bool) -> Plane<u32> {
    let is_split = component.data.len() <= LARGEST_BOX_PX;
    if fill {
        holes::fill(&mut component, if is_split { split.hole_px } else { usize::MAX });
    }
    match (is_split, fill) {
        (true, true) => fill_parts(parts(&component, split)),
        (true, false) => parts(&component, split),
        (false, _) => component.map(|&inside| u32::from(inside)),
    }
}

/// Fills the holes of every part. Parts are painted by ascending area of their bounding boxes, so that a part inside a hole becomes part of
/// the one around it.
fn fill_parts(mut labels: Plane<u32>) -> Plane<u32> {
    let parts = bounding_boxes(&labels).into_iter().zip(1..);
    let filled = parts.filter_map(|(bounds, part)| {
        let mut mask = bounds.crop(&labels, |label| label == part);
        holes::fill(&mut mask, usize::MAX).then_some((bounds, part, mask))
    });
    let mut filled: Vec<(BoundingBox, u32, Plane<bool>)> = filled.collect();
    filled.sort_by_key(|(bounds, ..)| bounds.area());
    for (bounds, part, mask) in &filled {
        bounds.paint(&mut labels, &mask.map(|&inside| u32::from(inside) * part));
    }
    if !filled.is_empty() {
        relabel_in_raster_order(&mut labels);
    }
    labels
}

/// Splits a component at its necks.
fn parts(component: &Plane<bool>, split: &Split) -> Plane<u32> {
    let rule = MergeRule::new(split);
    let distance = distances(component);
    let mut basins = Basins::default();
    let mut labels = Plane::filled(component.width, component.height, 0);
    for pixel in descending(&distance) {
        let pixel = pixel as usize;
        let height = distance.data[pixel];
        let (neighbours, count) = basins.neighbours(&labels, &distance, pixel);
        for (i, &own) in neighbours[..count].iter().enumerate() {
            neighbours[i + 1..count].iter().for_each(|&other| basins.meet(own, other, height, &rule));
        }
        labels.data[pixel] = if count > 0 { neighbours[0] } else { basins.start(height) };
    }
    labels.data.iter_mut().for_each(|label| *label = basins.find(*label));
    relabel_in_raster_order(&mut labels);
    labels
}

/// Lists the indices of all foreground pixels by descending distance, in raster order among equal distances (counting sort).
fn descending(distance: &Plane<u16>) -> Vec<u32> {
    let levels = distance.data.iter().max().map_or(0, |&most| usize::from(most)) + 1;
    // Position in `order` of the next pixel of each level, counted from the highest level down.
    let mut place = vec![0; levels];
    distance.data.iter().for_each(|&d| place[usize::from(d)] += 1);
    let mut before = 0;
    for level in place.iter_mut().skip(1).rev() {
        before += std::mem::replace(level, before);
    }
    let mut order = vec![0; before as usize];
    for (pixel, &d) in distance.data.iter().enumerate().filter(|(_, d)| **d > 0) {
        order[place[usize::from(d)] as usize] = pixel as u32;
        place[usize::from(d)] += 1;
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::{Decoding, components, instances_of_mask};

    fn discs(width: usize, height: usize, discs: &[(i64, i64, i64)]) -> Plane<bool> {
        let inside = |x: i64, y: i64| discs.iter().any(|&(cx, cy, r)| (x - cx).pow(2) + (y - cy).pow(2) <= r * r);
        let data = (0..width * height).map(|i| inside((i % width) as i64, (i / width) as i64)).collect();
        Plane { width, height, data }
    }

    fn count(mask: &Plane<bool>) -> u32 {
        instances_of_mask(mask, &Decoding::splitting()).data.into_iter().max().unwrap()
    }

    #[test]
    fn touching_discs_are_split_at_the_neck_and_single_shapes_stay_whole() {
        let pair = discs(40, 22, &[(10, 10, 9), (28, 10, 9)]);
        let nuclei = instances_of_mask(&pair, &Decoding::splitting());
        assert_eq!(instances_of_mask(&pair, &Decoding::default()).data.into_iter().max(), Some(1));
        for (i, &nucleus) in nuclei.data.iter().enumerate() {
            let expected = if i % 40 < 19 { 1 } else { 2 };
            assert!(!pair.data[i] || i % 40 == 19 || nucleus == expected, "pixel {i}: {nucleus}");
        }
        assert_eq!(count(&discs(40, 40, &[(20, 20, 15)])), 1);
        let ellipse = (0..60 * 30).map(|i| ((i % 60 - 30) as f64 / 27.0).hypot((i / 60 - 15) as f64 / 9.0) <= 1.0).collect();
        assert_eq!(count(&Plane { width: 60, height: 30, data: ellipse }), 1);
    }

    #[test]
    fn the_lumen_of_a_ring_of_nuclei_stays_open_and_a_hole_in_a_nucleus_is_filled() {
        let around: Vec<(i64, i64, i64)> =
            [(40, 15), (62, 25), (66, 48), (49, 65), (26, 63), (13, 43), (19, 22)].map(|(x, y)| (x, y, 12)).to_vec();
        let gland = discs(82, 82, &around);
        assert_eq!(components(&gland).data.into_iter().max(), Some(1));
        let nuclei = instances_of_mask(&gland, &Decoding::splitting());
        assert_eq!((nuclei.data.iter().max(), nuclei.at(40, 40)), (Some(&7), 0));
        let mut vesicular = discs(50, 50, &[(25, 25, 20)]);
        discs(50, 50, &[(25, 25, 8)]).data.iter().zip(&mut vesicular.data).for_each(|(&hole, pixel)| *pixel &= !hole);
        let nucleus = instances_of_mask(&vesicular, &Decoding::splitting());
        assert_eq!((nucleus.data.iter().max(), nucleus.at(25, 25)), (Some(&1), 1));
    }

    proptest! {
        #[test]
        fn parts_cover_the_component_in_connected_pieces(seeds in prop::collection::vec((0i64..60, 0i64..60, 1i64..14), 1..12), fill in any::<bool>()) {
            let mask = discs(60, 60, &seeds);
            let without = Decoding { min_area_px: 0, fill_holes: fill, ..Decoding::default() };
            let with = Decoding { split: Some(Split::default()), ..without.clone() };
            let (whole, cut) = (instances_of_mask(&mask, &without), instances_of_mask(&mask, &with));
            let mut next = 1;
            for (i, (&whole, &cut)) in whole.data.iter().zip(&cut.data).enumerate() {
                prop_assert!(cut == 0 || whole > 0);
                prop_assert!(cut > 0 || !mask.data[i], "pixel {} of the mask was lost", i);
                prop_assert!(cut <= next, "numbers follow the raster order");
                next = next.max(cut + 1);
            }
            for part in 1..next {
                prop_assert_eq!(components(&cut.map(|&id| id == part)).data.into_iter().max(), Some(1));
            }
        }
    }
}

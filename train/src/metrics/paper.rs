//! mDice as the papers' code computes it, quirks and all, to compare with their tables. Use [`super::instance::mdice`] for anything else.
//!
//! The prediction's mask is cut into components. Ids of the truth are taken in ascending order, the lowest *value* counting as background.
//! A nucleus under 20 px is blanked; when no component lies under a nucleus, every nucleus that touches the image border is blanked
//! and nothing counts as predicted. A blanked nucleus scores 1, false positives cost nothing, an image without nuclei scores 0.

use std::collections::BTreeSet;

use models::decode::{Decoding, instances_of_mask};
use models::plane::Plane;

use super::overlap::{Overlaps, first_greatest};

const EPS: f64 = 1e-4;
const LEAST_PX: u64 = 20;

/// The published pipeline on a mask. `clip`: ids above it become it first (255 in the code for DSB2018).
pub fn mdice_paper(truth: &Plane<u32>, mask: &Plane<bool>, clip: Option<u32>) -> f64 {
    mdice_paper_loop(truth, &instances_of_mask(mask, &Decoding::default()), clip)
}

/// The published loop over nuclei, on predicted instances as they are.
pub fn mdice_paper_loop(truth: &Plane<u32>, predicted: &Plane<u32>, clip: Option<u32>) -> f64 {
    let truth = truth.map(|&id| id.min(clip.unwrap_or(u32::MAX)));
    let overlaps = Overlaps::new(&truth, predicted);
    let on_border = border_ids(&truth);
    let has_background = truth.data.contains(&0);
    let mut blank = BTreeSet::new();
    let mut scores = Vec::new();
    for (t, &id) in overlaps.true_ids.iter().enumerate().skip(usize::from(!has_background)) {
        let area = overlaps.true_areas[t];
        if area < LEAST_PX {
            blank.insert(id);
        }
        let under = if blank.contains(&id) { None } else { first_greatest(&overlaps.of_true[t], |(_, shared)| *shared as f64) };
        let (shared, both) = if let Some((p, shared)) = under {
            (shared, area + overlaps.predicted_areas[p])
        } else {
            blank.extend(&on_border);
            (0, if blank.contains(&id) { 0 } else { area })
        };
        scores.push((2.0 * shared as f64 + EPS) / (both as f64 + EPS));
    }
    if scores.is_empty() { 0.0 } else { scores.iter().sum::<f64>() / scores.len() as f64 }
}

fn border_ids(map: &Plane<u32>) -> BTreeSet<u32> {
    if map.data.is_empty() {
        return BTreeSet::new();
    }
    let sides = (0..map.height).flat_map(|y| [map.at(0, y), map.at(map.width - 1, y)]);
    map.row(0).iter().chain(map.row(map.height - 1)).copied().chain(sides).collect()
}

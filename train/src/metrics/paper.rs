//! mDice as the papers' code computes it, including its faults, for comparison with their tables. [`super::instance::mdice`] is the correct
//! metric.
//!
//! The predicted mask is divided into components. True nuclei are visited in ascending order of their ids, and the lowest *value* of the
//! map counts as background. The code erases nuclei below 20 px from the truth. If no component overlaps a nucleus, the code erases all
//! nuclei that touch the image border, and scores the nucleus against an empty prediction. Erased nuclei score 1, false positives are not
//! penalised, and an image without nuclei scores 0.

use std::collections::BTreeSet;

use models::decode::{Decoding, instances_of_mask};
use models::plane::Plane;

use super::overlap::{Overlaps, first_max_by};

/// Smoothing term of the Dice coefficient, which lets empty pairs score 1.
const EPS: f64 = 1e-4;
/// Area in pixels below which the code erases a nucleus.
const MIN_AREA_PX: u64 = 20;

/// Computes the published score of a predicted mask.
///
/// True ids above `clip` are set to `clip` first; the published code has 255 for DSB2018.
pub fn mdice_paper(truth: &Plane<u32>, mask: &Plane<bool>, clip: Option<u32>) -> f64 {
    mdice_paper_loop(truth, &instances_of_mask(mask, &Decoding::default()), clip)
}

/// Computes the published score of predicted instances, without the component analysis of [`mdice_paper`].
pub fn mdice_paper_loop(truth: &Plane<u32>, predicted: &Plane<u32>, clip: Option<u32>) -> f64 {
    let truth = truth.map(|&id| id.min(clip.unwrap_or(u32::MAX)));
    let overlaps = Overlaps::new(&truth, predicted);
    let on_border = border_ids(&truth);
    let has_background = truth.data.contains(&0);
    let mut erased = BTreeSet::new();
    let mut scores = Vec::new();
    for (t, &id) in overlaps.true_ids.iter().enumerate().skip(usize::from(!has_background)) {
        let area = overlaps.true_areas[t];
        if area < MIN_AREA_PX {
            erased.insert(id);
        }
        let best = if erased.contains(&id) { None } else { first_max_by(&overlaps.of_true[t], |(_, shared)| *shared as f64) };
        let (shared, both) = if let Some((p, shared)) = best {
            (shared, area + overlaps.predicted_areas[p])
        } else {
            erased.extend(&on_border);
            (0, if erased.contains(&id) { 0 } else { area })
        };
        scores.push((2.0 * shared as f64 + EPS) / (both as f64 + EPS));
    }
    if scores.is_empty() { 0.0 } else { scores.iter().sum::<f64>() / scores.len() as f64 }
}

/// Returns the ids on the image border.
fn border_ids(map: &Plane<u32>) -> BTreeSet<u32> {
    if map.data.is_empty() {
        return BTreeSet::new();
    }
    let sides = (0..map.height).flat_map(|y| [map.at(0, y), map.at(map.width - 1, y)]);
    map.row(0).iter().chain(map.row(map.height - 1)).copied().chain(sides).collect()
}

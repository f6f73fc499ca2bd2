//! Metrics of instance segmentation. Ties go to the lowest id; each function states its value for empty maps.

use super::overlap::{Overlaps, first_max_by};

/// Computes the mean, over true nuclei, of the Dice coefficient with the predicted nucleus of largest overlap; a missed nucleus scores 0.
///
/// Without true nuclei the value is 1 if nothing is predicted, else 0.
pub fn mdice(overlaps: &Overlaps) -> f64 {
    if overlaps.true_areas.is_empty() {
        return empty_case(overlaps);
    }
    mean_best_dice(&overlaps.true_areas, &overlaps.predicted_areas, &overlaps.of_true)
}

/// Computes the symmetric best Dice: the smaller of [`mdice`] and [`mdice`] with truth and prediction exchanged, which penalises false
/// positives.
///
/// The value is 1 if both maps are empty, 0 if one is.
pub fn sbd(overlaps: &Overlaps) -> f64 {
    let Overlaps { true_areas, predicted_areas, of_true, of_predicted, .. } = overlaps;
    if true_areas.is_empty() || predicted_areas.is_empty() {
        return empty_case(overlaps);
    }
    mean_best_dice(true_areas, predicted_areas, of_true).min(mean_best_dice(predicted_areas, true_areas, of_predicted))
}

/// Returns the mean over the instances of one side of the Dice coefficient with the instance of largest overlap on the other side.
fn mean_best_dice(own: &[u64], other: &[u64], shared: &[Vec<(usize, u64)>]) -> f64 {
    let dice = own.iter().zip(shared).map(|(&area, row)| match first_max_by(row, |(_, n)| *n as f64) {
        Some((best, n)) => 2.0 * n as f64 / (area + other[best]) as f64,
        None => 0.0,
    });
    dice.sum::<f64>() / own.len() as f64
}

/// Computes the aggregated Jaccard index (Kumar et al., IEEE TMI 2017).
///
/// Each true nucleus is matched with the predicted nucleus of highest `IoU`, which may be matched several times; unmatched predicted nuclei
/// add to the union. The value is 1 if both maps are empty, 0 if one is.
pub fn aji(overlaps: &Overlaps) -> f64 {
    if overlaps.true_areas.is_empty() || overlaps.predicted_areas.is_empty() {
        return empty_case(overlaps);
    }
    let (mut shared, mut union) = (0, 0);
    let mut unused = vec![true; overlaps.predicted_areas.len()];
    for (t, row) in overlaps.of_true.iter().enumerate() {
        let iou = |&(p, n): &(usize, u64)| n as f64 / overlaps.union(t, p, n) as f64;
        match first_max_by(row, iou) {
            Some((p, n)) => {
                shared += n;
                union += overlaps.union(t, p, n);
                unused[p] = false;
            }
            None => union += overlaps.true_areas[t],
        }
    }
    union += overlaps.predicted_areas.iter().zip(&unused).filter(|(_, unused)| **unused).map(|(area, _)| area).sum::<u64>();
    shared as f64 / union as f64
}

/// Returns the value for empty maps: 1 if both are empty, else 0.
fn empty_case(overlaps: &Overlaps) -> f64 {
    f64::from(u8::from(overlaps.true_areas.is_empty() && overlaps.predicted_areas.is_empty()))
}

/// Panoptic quality (Kirillov et al., CVPR 2019) and its factors, each from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Panoptic {
    /// Panoptic quality, `dq * sq`.
    pub pq: f64,
    /// Detection quality: F1 of nuclei matched at `IoU` > .5.
    pub dq: f64,
    /// Segmentation quality: mean `IoU` of the matches, 0 without matches.
    pub sq: f64,
}

/// Computes the panoptic quality; all values are 1 if both maps are empty.
pub fn panoptic(overlaps: &Overlaps) -> Panoptic {
    let nuclei = overlaps.true_areas.len() + overlaps.predicted_areas.len();
    if nuclei == 0 {
        return Panoptic { pq: 1.0, dq: 1.0, sq: 1.0 };
    }
    let ious = matched_ious(overlaps, 10);
    let dq = 2.0 * ious.len() as f64 / nuclei as f64;
    let sq = if ious.is_empty() { 0.0 } else { ious.iter().sum::<f64>() / ious.len() as f64 };
    Panoptic { pq: dq * sq, dq, sq }
}

/// Computes `TP / (TP + FP + FN)` at `IoU` > .50, .55, ..., .95; the values are 1 if both maps are empty.
pub fn average_precision(overlaps: &Overlaps) -> [f64; 10] {
    let nuclei = overlaps.true_areas.len() + overlaps.predicted_areas.len();
    std::array::from_fn(|i| {
        if nuclei == 0 {
            return 1.0;
        }
        let hits = matched_ious(overlaps, 10 + i as u64).len();
        hits as f64 / (nuclei - hits) as f64
    })
}

/// Returns the `IoU` of all pairs with `IoU > twentieths / 20`, compared in integers.
///
/// From `twentieths` = 10 on, each nucleus is in at most one pair.
fn matched_ious(overlaps: &Overlaps, twentieths: u64) -> Vec<f64> {
    let mut ious = Vec::new();
    for (t, row) in overlaps.of_true.iter().enumerate() {
        for &(p, shared) in row {
            let union = overlaps.union(t, p, shared);
            if 20 * shared > twentieths * union {
                ious.push(shared as f64 / union as f64);
            }
        }
    }
    ious
}

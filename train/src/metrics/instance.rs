//! Metrics of instance segmentations. Ties go to the lowest id; empty cases are stated with each.

use super::overlap::{Overlaps, first_greatest};

/// Mean over true nuclei of the Dice with the predicted one of largest overlap; a missed nucleus counts 0.
///
/// Without true nuclei: 1 if nothing was predicted, else 0.
pub fn mdice(overlaps: &Overlaps) -> f64 {
    if overlaps.true_areas.is_empty() {
        return both_or_none(overlaps);
    }
    one_sided(&overlaps.true_areas, &overlaps.predicted_areas, &overlaps.of_true)
}

/// Symmetric best Dice: the smaller of [`mdice`] and its mirror image, so that false positives cost something.
pub fn sbd(overlaps: &Overlaps) -> f64 {
    let Overlaps { true_areas, predicted_areas, of_true, of_predicted, .. } = overlaps;
    if true_areas.is_empty() || predicted_areas.is_empty() {
        return both_or_none(overlaps);
    }
    one_sided(true_areas, predicted_areas, of_true).min(one_sided(predicted_areas, true_areas, of_predicted))
}

fn one_sided(own: &[u64], other: &[u64], shared: &[Vec<(usize, u64)>]) -> f64 {
    let dice = own.iter().zip(shared).map(|(&area, row)| match first_greatest(row, |(_, n)| *n as f64) {
        Some((best, n)) => 2.0 * n as f64 / (area + other[best]) as f64,
        None => 0.0,
    });
    dice.sum::<f64>() / own.len() as f64
}

/// Aggregated Jaccard index (Kumar et al., IEEE TMI 2017): best predicted nucleus by `IoU`, which may serve twice; unused ones add to the union.
///
/// One side empty: 0; both: 1.
pub fn aji(overlaps: &Overlaps) -> f64 {
    if overlaps.true_areas.is_empty() || overlaps.predicted_areas.is_empty() {
        return both_or_none(overlaps);
    }
    let (mut shared, mut union) = (0, 0);
    let mut unused = vec![true; overlaps.predicted_areas.len()];
    for (t, row) in overlaps.of_true.iter().enumerate() {
        let iou = |&(p, n): &(usize, u64)| n as f64 / overlaps.union(t, p, n) as f64;
        match first_greatest(row, iou) {
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

fn both_or_none(overlaps: &Overlaps) -> f64 {
    f64::from(u8::from(overlaps.true_areas.is_empty() && overlaps.predicted_areas.is_empty()))
}

/// Panoptic quality (Kirillov et al., CVPR 2019) and its parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Panoptic {
    /// `dq * sq`.
    pub pq: f64,
    /// F1 of nuclei matched at `IoU` > .5.
    pub dq: f64,
    /// Mean `IoU` of the matches, 0 without one.
    pub sq: f64,
}

/// Panoptic quality; nothing on both sides: 1, 1, 1.
pub fn panoptic(overlaps: &Overlaps) -> Panoptic {
    let nuclei = overlaps.true_areas.len() + overlaps.predicted_areas.len();
    if nuclei == 0 {
        return Panoptic { pq: 1.0, dq: 1.0, sq: 1.0 };
    }
    let ious = matches(overlaps, 10);
    let dq = 2.0 * ious.len() as f64 / nuclei as f64;
    let sq = if ious.is_empty() { 0.0 } else { ious.iter().sum::<f64>() / ious.len() as f64 };
    Panoptic { pq: dq * sq, dq, sq }
}

/// `TP / (TP + FP + FN)` at `IoU` > .50, .55, ..., .95; nothing on both sides: 1.
pub fn average_precision(overlaps: &Overlaps) -> [f64; 10] {
    let nuclei = overlaps.true_areas.len() + overlaps.predicted_areas.len();
    std::array::from_fn(|i| {
        if nuclei == 0 {
            return 1.0;
        }
        let hits = matches(overlaps, 10 + i as u64).len();
        hits as f64 / (nuclei - hits) as f64
    })
}

/// The `IoU` of every pair above `twentieths / 20`, strictly, compared in integers; from 10 on a nucleus is in one pair at most.
fn matches(overlaps: &Overlaps, twentieths: u64) -> Vec<f64> {
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

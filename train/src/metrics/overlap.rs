//! Overlap table of two instance maps, from which all instance metrics are computed.

use std::collections::BTreeMap;

use models::plane::Plane;

/// Areas and pairwise overlaps of true and predicted instances, which are indexed from 0 in ascending order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlaps {
    /// Ids of the true instances, ascending.
    pub true_ids: Vec<u32>,
    /// Area of each true instance, in pixels.
    pub true_areas: Vec<u64>,
    /// Area of each predicted instance, in pixels.
    pub predicted_areas: Vec<u64>,
    /// For each true instance, the indices of the overlapping predicted instances, ascending, and the overlaps in pixels.
    pub of_true: Vec<Vec<(usize, u64)>>,
    /// For each predicted instance, the indices of the overlapping true instances, ascending, and the overlaps in pixels.
    pub of_predicted: Vec<Vec<(usize, u64)>>,
}

impl Overlaps {
    /// Computes the overlaps of two instance maps in which 0 is background.
    ///
    /// # Panics
    /// If the maps differ in size.
    pub fn new(truth: &Plane<u32>, predicted: &Plane<u32>) -> Self {
        assert_eq!((truth.width, truth.height), (predicted.width, predicted.height), "instance maps of one size");
        let mut pairs: Vec<(u32, u32)> = truth.data.iter().copied().zip(predicted.data.iter().copied()).collect();
        pairs.retain(|pair| *pair != (0, 0));
        pairs.sort_unstable();
        let runs: Vec<((u32, u32), u64)> = pairs.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64)).collect();
        let (true_ids, true_areas) = areas(runs.iter().map(|((t, _), n)| (*t, *n)));
        let (predicted_ids, predicted_areas) = areas(runs.iter().map(|((_, p), n)| (*p, *n)));
        let mut of_true = vec![Vec::new(); true_ids.len()];
        let mut of_predicted = vec![Vec::new(); predicted_ids.len()];
        for ((t, p), shared) in runs.into_iter().filter(|((t, p), _)| *t > 0 && *p > 0) {
            let index = |ids: &[u32], id| ids.binary_search(&id).expect("the id was counted");
            let (t, p) = (index(&true_ids, t), index(&predicted_ids, p));
            of_true[t].push((p, shared));
            of_predicted[p].push((t, shared));
        }
        Self { true_ids, true_areas, predicted_areas, of_true, of_predicted }
    }

    /// Returns the area of the union of a true and a predicted instance that overlap in `shared` pixels.
    pub fn union(&self, truth: usize, predicted: usize, shared: u64) -> u64 {
        self.true_areas[truth] + self.predicted_areas[predicted] - shared
    }
}

/// Sums the pixel counts of each id; returns the ids in ascending order and their areas.
fn areas(counts: impl Iterator<Item = (u32, u64)>) -> (Vec<u32>, Vec<u64>) {
    let mut areas = BTreeMap::new();
    counts.filter(|(id, _)| *id > 0).for_each(|(id, n)| *areas.entry(id).or_insert(0) += n);
    areas.into_iter().unzip()
}

/// Returns the item with the greatest value, the first one of ties.
pub(super) fn first_max_by<T: Copy>(items: &[T], value: impl Fn(&T) -> f64) -> Option<T> {
    let mut best: Option<(f64, T)> = None;
    for item in items {
        let v = value(item);
        if best.as_ref().is_none_or(|(max, _)| v > *max) {
            best = Some((v, *item));
        }
    }
    best.map(|(_, item)| item)
}

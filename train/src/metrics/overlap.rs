//! One table of overlaps serves every instance metric.

use std::collections::BTreeMap;

use models::plane::Plane;

/// How many pixels each true and each predicted instance share. Instances are numbered from 0 in ascending order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlaps {
    /// Ids of the true instances, ascending.
    pub true_ids: Vec<u32>,
    /// Pixels of each true instance.
    pub true_areas: Vec<u64>,
    /// Pixels of each predicted instance.
    pub predicted_areas: Vec<u64>,
    /// For each true instance, the predicted ones it shares pixels with, ascending, and how many.
    pub of_true: Vec<Vec<(usize, u64)>>,
    /// For each predicted instance, the true ones.
    pub of_predicted: Vec<Vec<(usize, u64)>>,
}

impl Overlaps {
    /// Compares two instance maps of one size; 0 is background in both.
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
            let place = |ids: &[u32], id| ids.binary_search(&id).expect("the id was counted");
            let (t, p) = (place(&true_ids, t), place(&predicted_ids, p));
            of_true[t].push((p, shared));
            of_predicted[p].push((t, shared));
        }
        Self { true_ids, true_areas, predicted_areas, of_true, of_predicted }
    }

    /// Pixels in either of a true and a predicted instance that share `shared`.
    pub fn union(&self, truth: usize, predicted: usize, shared: u64) -> u64 {
        self.true_areas[truth] + self.predicted_areas[predicted] - shared
    }
}

fn areas(counts: impl Iterator<Item = (u32, u64)>) -> (Vec<u32>, Vec<u64>) {
    let mut areas = BTreeMap::new();
    counts.filter(|(id, _)| *id > 0).for_each(|(id, n)| *areas.entry(id).or_insert(0) += n);
    areas.into_iter().unzip()
}

/// The entry with the greatest value; of equal ones the first.
pub(super) fn first_greatest<T: Copy>(items: &[T], value: impl Fn(&T) -> f64) -> Option<T> {
    let mut best: Option<(f64, T)> = None;
    for item in items {
        let v = value(item);
        if best.as_ref().is_none_or(|(most, _)| v > *most) {
            best = Some((v, *item));
        }
    }
    best.map(|(_, item)| item)
}

//! Scores over several runs on the same images, and paired differences between two methods.

use std::collections::BTreeMap;

use super::Scores;
use super::summary::{ScoreTable, Summary, summarise_runs};

/// Summarises a score over runs and images; returns `None` if the runs have no image in common or do not have the score.
pub fn over_runs(runs: &[&ScoreTable], score: &str, seed: u64) -> Option<Summary> {
    of_common_images(&runs.iter().map(|run| by_image(run, score)).collect::<Vec<_>>(), seed)
}

/// Summarises the paired differences (first run minus second run of each pair) of a score over the images that all runs have in common.
///
/// The scores of images differ more than the scores of two methods on one image, so that the interval of the paired differences is much
/// narrower than those of the scores. An interval that excludes 0 distinguishes the methods. Returns `None` without a common image or if
/// the runs do not have the score.
pub fn difference(pairs: &[(&ScoreTable, &ScoreTable)], score: &str, seed: u64) -> Option<Summary> {
    let differences = pairs.iter().map(|(a, b)| {
        let b = by_image(b, score);
        by_image(a, score).into_iter().filter_map(|(id, value)| Some((id, value - b.get(id)?))).collect()
    });
    of_common_images(&differences.collect::<Vec<_>>(), seed)
}

/// Summarises the values of the images that all runs contain; each run maps image ids to values.
fn of_common_images(runs: &[BTreeMap<&str, f64>], seed: u64) -> Option<Summary> {
    let common: Vec<&str> = runs.first()?.keys().copied().filter(|id| runs.iter().all(|run| run.contains_key(id))).collect();
    let rows: Vec<Vec<f64>> = runs.iter().map(|run| common.iter().map(|id| run[id]).collect()).collect();
    (!common.is_empty()).then(|| summarise_runs(&rows, seed))
}

/// Returns the values of one score by image id.
fn by_image<'a>(table: &'a ScoreTable, score: &str) -> BTreeMap<&'a str, f64> {
    let value = |scores: &Scores| scores.named().into_iter().find(|(name, _)| *name == score).map(|(_, value)| value);
    table.images.iter().filter_map(|(id, scores)| Some((id.as_str(), value(scores)?))).collect()
}

#[cfg(test)]
mod tests {
    use models::plane::Plane;

    use super::*;
    use crate::metrics::Scores;

    /// Returns scores of images with an `IoU` of `found[i] / 10`: the prediction covers `found[i]` of the ten columns of the nucleus.
    fn table(found: &[u32]) -> ScoreTable {
        let mask = |columns: u32| Plane::new(20, 10, (0..200).map(|i| u32::from(i % 20 < columns)).collect()).unwrap();
        let of = |(i, &columns): (usize, &u32)| (format!("image {i}"), Scores::of_instances(&mask(10), &mask(columns), None));
        ScoreTable::new(found.iter().enumerate().map(of).collect(), 0)
    }

    #[test]
    fn a_small_consistent_difference_is_significant_although_images_vary_widely() {
        let (better, worse) = (table(&[10, 6, 3, 9, 5, 2, 8]), table(&[9, 5, 2, 8, 4, 1, 7]));
        let gain = difference(&[(&better, &worse)], "iou", 1).unwrap();
        assert!((gain.mean - 0.1).abs() < 1e-12 && gain.low > 0.09 && gain.high < 0.11, "{gain:?}");
        let overlap = (better.get("iou").unwrap().low, worse.get("iou").unwrap().high);
        assert!(overlap.0 < overlap.1, "the intervals of the scores overlap: {overlap:?}");
    }

    #[test]
    fn differences_use_only_the_images_that_all_runs_have() {
        let (one, two, other) = (table(&[10, 4]), table(&[8, 6]), table(&[9, 5, 7]));
        let gain = difference(&[(&one, &other), (&two, &other)], "iou", 1).unwrap();
        assert!(gain.mean.abs() < 1e-12);
        assert_eq!(over_runs(&[&one, &two, &other], "iou", 1).unwrap().mean, 0.7);
        assert_eq!(difference(&[], "iou", 1), None);
        assert_eq!(difference(&[(&one, &two)], "no such score", 1), None);
    }
}

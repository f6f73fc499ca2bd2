//! Several runs on the same images: their scores, and differences between two methods.

use std::collections::BTreeMap;

use super::Scores;
use super::summary::{ScoreTable, Summary, summarise_runs};

/// A score over runs and images; `None` if the runs have no image in common, or no such score.
pub fn over_runs(runs: &[&ScoreTable], score: &str, seed: u64) -> Option<Summary> {
    of_common_images(&runs.iter().map(|run| by_image(run, score)).collect::<Vec<_>>(), seed)
}

/// How far a score of the first run of each pair lies above that of the second, on the images that all have, with mean, spread and
/// bootstrap interval over runs and images. `None` if there is no such image or score.
///
/// Images differ far more from each other than methods do on one of them, so that intervals of differences are much narrower than
/// those of the scores themselves: an interval without 0 tells the methods apart.
pub fn difference(pairs: &[(&ScoreTable, &ScoreTable)], score: &str, seed: u64) -> Option<Summary> {
    let differences = pairs.iter().map(|(a, b)| {
        let b = by_image(b, score);
        by_image(a, score).into_iter().filter_map(|(id, value)| Some((id, value - b.get(id)?))).collect()
    });
    of_common_images(&differences.collect::<Vec<_>>(), seed)
}

fn of_common_images(runs: &[BTreeMap<&str, f64>], seed: u64) -> Option<Summary> {
    let common: Vec<&str> = runs.first()?.keys().copied().filter(|id| runs.iter().all(|run| run.contains_key(id))).collect();
    let rows: Vec<Vec<f64>> = runs.iter().map(|run| common.iter().map(|id| run[id]).collect()).collect();
    (!common.is_empty()).then(|| summarise_runs(&rows, seed))
}

fn by_image<'a>(table: &'a ScoreTable, score: &str) -> BTreeMap<&'a str, f64> {
    let value = |scores: &Scores| scores.named().into_iter().find(|(name, _)| *name == score).map(|(_, value)| value);
    table.images.iter().filter_map(|(id, scores)| Some((id.as_str(), value(scores)?))).collect()
}

#[cfg(test)]
mod tests {
    use models::plane::Plane;

    use super::*;
    use crate::metrics::Scores;

    /// Images on which `found[i]` of ten columns of a nucleus are found: `IoU` `found / 10`.
    fn table(found: &[u32]) -> ScoreTable {
        let mask = |columns: u32| Plane::new(20, 10, (0..200).map(|i| u32::from(i % 20 < columns)).collect()).unwrap();
        let of = |(i, &columns): (usize, &u32)| (format!("image {i}"), Scores::of_instances(&mask(10), &mask(columns), None));
        ScoreTable::new(found.iter().enumerate().map(of).collect(), 0)
    }

    #[test]
    fn a_small_steady_lead_is_told_apart_although_images_differ_widely() {
        let (better, worse) = (table(&[10, 6, 3, 9, 5, 2, 8]), table(&[9, 5, 2, 8, 4, 1, 7]));
        let lead = difference(&[(&better, &worse)], "iou", 1).unwrap();
        assert!((lead.mean - 0.1).abs() < 1e-12 && lead.low > 0.09 && lead.high < 0.11, "{lead:?}");
        let overlap = (better.get("iou").unwrap().low, worse.get("iou").unwrap().high);
        assert!(overlap.0 < overlap.1, "their own intervals overlap: {overlap:?}");
    }

    #[test]
    fn differences_are_of_the_images_that_all_runs_have() {
        let (one, two, other) = (table(&[10, 4]), table(&[8, 6]), table(&[9, 5, 7]));
        let lead = difference(&[(&one, &other), (&two, &other)], "iou", 1).unwrap();
        assert!(lead.mean.abs() < 1e-12);
        assert_eq!(over_runs(&[&one, &two, &other], "iou", 1).unwrap().mean, 0.7);
        assert_eq!(difference(&[], "iou", 1), None);
        assert_eq!(difference(&[(&one, &two)], "no such score", 1), None);
    }
}

//! Differences between two methods on the same images.

use std::collections::BTreeMap;

use super::summary::{ScoreTable, Summary, summarise};

/// How far a score of `a` lies above that of `b`: each image's mean over the runs of a method, then the differences of the images that
/// both have, with mean, spread and bootstrap interval over images. `None` if there is no such image or score.
///
/// Images differ far more from each other than methods do on one of them, so that intervals of differences are much narrower than
/// those of the scores themselves: an interval without 0 tells the methods apart.
pub fn difference(a: &[&ScoreTable], b: &[&ScoreTable], score: &str, seed: u64) -> Option<Summary> {
    let (a, b) = (by_image(a, score), by_image(b, score));
    let differences: Vec<f64> = a.iter().filter_map(|(id, mean)| Some(mean - b.get(id)?)).collect();
    (!differences.is_empty()).then(|| summarise(&differences, seed))
}

/// The mean of a score over runs, for each image.
fn by_image<'a>(runs: &[&'a ScoreTable], score: &str) -> BTreeMap<&'a str, f64> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (id, scores) in runs.iter().flat_map(|table| &table.images) {
        let value = scores.named().into_iter().find(|(name, _)| *name == score);
        values.entry(id).or_default().extend(value.map(|(_, value)| value));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    values.into_iter().filter(|(_, values)| !values.is_empty()).map(|(id, values)| (id, mean(&values))).collect()
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
        let lead = difference(&[&better], &[&worse], "iou", 1).unwrap();
        assert!((lead.mean - 0.1).abs() < 1e-12 && lead.low > 0.09 && lead.high < 0.11, "{lead:?}");
        let overlap = (better.get("iou").unwrap().low, worse.get("iou").unwrap().high);
        assert!(overlap.0 < overlap.1, "their own intervals overlap: {overlap:?}");
    }

    #[test]
    fn runs_of_a_method_are_averaged_before_images_are_compared() {
        let (one, two, other) = (table(&[10, 4]), table(&[8, 6]), table(&[9, 5, 7]));
        let lead = difference(&[&one, &two], &[&other], "iou", 1).unwrap();
        assert_eq!((lead.mean, lead.low, lead.high), (0.0, 0.0, 0.0));
        assert_eq!(difference(&[&one], &[], "iou", 1), None);
        assert_eq!(difference(&[&one], &[&two], "no such score", 1), None);
    }
}

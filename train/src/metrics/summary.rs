//! Summary statistics of scores over images: mean, standard deviation, bootstrap interval and micro-averages.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Pixels, Scores};
use crate::rng::CounterRng;

/// Number of bootstrap resamples.
const RESAMPLES: usize = 2000;

/// Summary of one score over images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Mean over images.
    pub mean: f64,
    /// Standard deviation over images (n - 1); 0 for one image.
    pub sd: f64,
    /// Lower end of the 95 % bootstrap interval of the mean.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Summary {
    /// Formats a score as `0.812 [0.790, 0.833]`, or as the mean alone if the interval is empty, as for a single image.
    pub fn to_score(&self) -> String {
        let Self { mean, low, high, .. } = self;
        if low < high { format!("{mean:.3} [{low:.3}, {high:.3}]") } else { format!("{mean:.3}") }
    }

    /// Formats a difference as `+0.012 [+0.003, +0.020] *`, with a star if the interval excludes 0, or as the mean alone if the interval is
    /// empty.
    pub fn to_difference(&self) -> String {
        let Self { mean, low, high, .. } = self;
        if low >= high {
            return format!("{mean:+.3}");
        }
        format!("{mean:+.3} [{low:+.3}, {high:+.3}]{}", if *low > 0.0 || *high < 0.0 { " *" } else { "" })
    }
}

/// Computes mean, standard deviation and percentile bootstrap interval (2.5 to 97.5 %) of the values of images, reproducibly from `seed`.
///
/// # Panics
/// If there are no values.
pub fn summarise(values: &[f64], seed: u64) -> Summary {
    assert!(!values.is_empty(), "a summary of no values");
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let sd = if n > 1 { (squares / (n - 1) as f64).sqrt() } else { 0.0 };
    let mut rng = CounterRng::new(seed, "bootstrap", 0, 0, 0);
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| (0..n).map(|_| values[rng.below(n)]).sum::<f64>() / n as f64).collect();
    means.sort_by(f64::total_cmp);
    Summary { mean, sd, low: quantile(&means, 0.025), high: quantile(&means, 0.975) }
}

/// Summarises scores `[run][image]` over runs and images; a single run is treated by [`summarise`].
///
/// The standard deviation is that of the images' means over runs. The percentile bootstrap interval resamples runs and images with
/// replacement (Owen, The pigeonhole bootstrap, 2007). With few runs the interval is somewhat too narrow, because resampling n runs
/// captures the fraction (n - 1) / n of the variance between runs.
///
/// # Panics
/// If there are no runs or images, or the runs differ in their number of images.
pub fn summarise_runs(runs: &[Vec<f64>], seed: u64) -> Summary {
    let images = runs[0].len();
    assert!(images > 0 && runs.iter().all(|run| run.len() == images), "runs on different images");
    let means: Vec<f64> = (0..images).map(|i| runs.iter().map(|run| run[i]).sum::<f64>() / runs.len() as f64).collect();
    let summary = summarise(&means, seed);
    if runs.len() == 1 {
        return summary;
    }
    let mut rng = CounterRng::new(seed, "bootstrap over runs", 0, 0, 0);
    let mut resampled = || {
        let chosen: Vec<&Vec<f64>> = runs.iter().map(|_| &runs[rng.below(runs.len())]).collect();
        let sum: f64 = (0..images).map(|_| rng.below(images)).map(|i| chosen.iter().map(|run| run[i]).sum::<f64>()).sum();
        sum / (images * runs.len()) as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| resampled()).collect();
    means.sort_by(f64::total_cmp);
    Summary { low: quantile(&means, 0.025), high: quantile(&means, 0.975), ..summary }
}

/// Returns the `q`-quantile of sorted values by linear interpolation.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

/// Scores of a set of images, per image and summarised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreTable {
    /// Id and scores of each image.
    pub images: Vec<(String, Scores)>,
    /// Name and summary of each score, in the order of [`Scores::named`].
    pub over_images: Vec<(String, Summary)>,
    /// Pixel counts of all images together, for micro-averages.
    pub pixels: Pixels,
}

impl ScoreTable {
    /// Summarises the scores of images.
    pub fn new(images: Vec<(String, Scores)>, seed: u64) -> Self {
        let names = images.first().map_or_else(Vec::new, |(_, scores)| scores.named().iter().map(|(name, _)| *name).collect());
        let of = |i: usize| images.iter().map(|(_, scores)| scores.named()[i].1).collect::<Vec<_>>();
        let over_images = names.iter().enumerate().map(|(i, name)| ((*name).to_owned(), summarise(&of(i), seed))).collect();
        let mut pixels = Pixels::default();
        for (_, scores) in &images {
            pixels += scores.pixels;
        }
        Self { images, over_images, pixels }
    }

    /// Returns the summary of a score by its name.
    pub fn get(&self, name: &str) -> Option<&Summary> {
        self.over_images.iter().find(|(known, _)| known == name).map(|(_, summary)| summary)
    }

    /// Formats the summaries as a text table.
    pub fn to_text(&self) -> String {
        let mut text = format!("{:<12} {:>8} {:>8} {:>18}   {} images\n", "metric", "mean", "sd", "95 % bootstrap", self.images.len());
        for (name, Summary { mean, sd, low, high }) in &self.over_images {
            let _ = writeln!(text, "{name:<12} {mean:8.4} {sd:8.4}   [{low:.4}, {high:.4}]"); // writing to a String cannot fail
        }
        let _ = writeln!(text, "micro IoU {:.4}   micro Dice {:.4}", self.pixels.iou(), self.pixels.dice());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::plane::Plane;

    #[test]
    fn a_single_image_has_no_interval_and_no_star() {
        let one = summarise(&[0.25], 0);
        assert_eq!([one.to_score(), one.to_difference()], ["0.250", "+0.250"]);
        let gain = Summary { mean: 0.012, sd: 0.1, low: 0.003, high: 0.02 };
        assert_eq!(gain.to_difference(), "+0.012 [+0.003, +0.020] *");
        assert_eq!(Summary { low: -0.003, ..gain }.to_difference(), "+0.012 [-0.003, +0.020]");
    }

    #[test]
    fn the_interval_matches_the_standard_error() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let summary = summarise(&values, 1);
        assert_eq!(summary.mean, 49.5);
        assert!((summary.sd - 29.011_491_975_882_016).abs() < 1e-12);
        // The mean of 100 draws has a standard error of 2.887; the interval extends 1.96 standard errors to each side.
        assert!((summary.low - 43.84).abs() < 0.5 && (summary.high - 55.16).abs() < 0.5, "{summary:?}");
        assert_eq!(summary, summarise(&values, 1));
        assert_eq!(summarise(&[0.5], 1), Summary { mean: 0.5, sd: 0.0, low: 0.5, high: 0.5 });
    }

    #[test]
    fn intervals_over_runs_include_the_variance_between_runs() {
        // Equal images and four runs .2 apart: only the resampling of runs varies.
        let runs: Vec<Vec<f64>> = [0.2, 0.4, 0.6, 0.8].iter().map(|v| vec![*v; 10]).collect();
        let summary = summarise_runs(&runs, 1);
        assert!((summary.mean - 0.5).abs() < 1e-12 && summary.sd < 1e-12, "{summary:?}");
        // The mean of four draws has a standard error of sqrt(.05 / 4) = .112.
        assert!((summary.low - 0.3).abs() < 0.03 && (summary.high - 0.7).abs() < 0.03, "{summary:?}");
        // Equal runs: only the resampling of images varies.
        let images: Vec<f64> = (0..100).map(f64::from).collect();
        let (equal_runs, single_run) = (summarise_runs(&vec![images.clone(); 3], 1), summarise(&images, 1));
        assert!(
            (equal_runs.low - single_run.low).abs() < 1.0 && (equal_runs.high - single_run.high).abs() < 1.0,
            "{equal_runs:?}, {single_run:?}"
        );
        assert_eq!(summarise_runs(std::slice::from_ref(&images), 1), single_run);
    }

    #[test]
    fn a_table_contains_every_score() {
        let truth = Plane::new(20, 10, (0..200).map(|i| u32::from(i % 20 < 10)).collect()).unwrap();
        let scores = Scores::of_instances(&truth, &truth, None);
        assert!(scores.named().iter().all(|(_, value)| *value == 1.0), "{scores:?}");
        let table = ScoreTable::new(vec![("a".into(), scores)], 0);
        assert_eq!(table.get("aji").unwrap().mean, 1.0);
        assert!(table.to_text().contains("micro IoU 1.0000"));
    }
}

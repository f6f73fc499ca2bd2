//! Paired differences between methods over the test images.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{FoldScores, Series};
use crate::config::Method;
use crate::metrics::Summary;
use crate::metrics::paired::difference;

/// Names of the scores whose differences are computed.
const SHOWN: [&str; 4] = ["iou", "mdice", "aji", "f1@.5"];

/// Paired difference between the scores of two methods.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairedDifference {
    /// Name of the method.
    pub method: String,
    /// Reference that is subtracted: a method of the same call, or `SERIES/METHOD`.
    pub over: String,
    /// Number of pairs of runs with the same fold and seed.
    pub pairs: usize,
    /// Mean difference over runs and images, with its bootstrap interval, by score.
    pub scores: BTreeMap<String, Summary>,
}

/// Computes the differences of every method from Scribble2Label (or, if that did not run, from the first method that did) and from every
/// method of the series in `beside`. Differences are taken on the same test images between runs with the same fold and seed.
pub(super) fn differences(finished: &[FoldScores], beside: &[Series], seed: u64) -> Vec<PairedDifference> {
    let ran = methods(finished);
    let mut all = Vec::new();
    if let Some(&over) = ran.iter().find(|method| **method == Method::S2l).or(ran.first()) {
        let others = ran.iter().filter(|method| **method != over);
        all.extend(others.filter_map(|&method| between((finished, method), (finished, over), over.name().into(), seed)));
    }
    for series in beside {
        for over in methods(&series.finished) {
            let name = format!("{}/{}", series.name, over.name());
            all.extend(ran.iter().filter_map(|&method| between((finished, method), (&series.finished, over), name.clone(), seed)));
        }
    }
    all
}

/// Lists the methods of the runs, in the order of [`Method::ALL`].
pub(super) fn methods(finished: &[FoldScores]) -> Vec<Method> {
    Method::ALL.iter().copied().filter(|method| finished.iter().any(|run| run.method == *method)).collect()
}

/// Computes the difference of `method` in `runs` from `over` in `others`; `None` if no two runs have the same fold, seed and test images.
fn between(
    (runs, method): (&[FoldScores], Method),
    (others, over): (&[FoldScores], Method),
    name: String,
    seed: u64,
) -> Option<PairedDifference> {
    let other = |run: &FoldScores| others.iter().find(|other| (other.method, other.fold, other.seed) == (over, run.fold, run.seed));
    let of_method = runs.iter().filter(|run| run.method == method);
    let pairs: Vec<_> = of_method.filter_map(|run| Some((&run.test.table, &other(run)?.test.table))).collect();
    let scores: BTreeMap<_, _> = SHOWN.iter().filter_map(|score| Some(((*score).to_owned(), difference(&pairs, score, seed)?))).collect();
    (!scores.is_empty()).then(|| PairedDifference { method: method.name().into(), over: name, pairs: pairs.len(), scores })
}

/// Formats the differences as Markdown, one table for each reference; empty without differences.
pub(super) fn to_markdown(differences: &[PairedDifference]) -> String {
    let mut text = String::new();
    for (i, difference) in differences.iter().enumerate() {
        // Writing to a String cannot fail.
        if i == 0 || differences[i - 1].over != difference.over {
            let _ = writeln!(
                text,
                "\nDifference from {}: mean over the same test images and over runs of the same fold and seed, with 95 % bootstrap interval over images and runs; * if the interval excludes 0.\n\n| method | runs | {} |\n|{}",
                difference.over,
                SHOWN.join(" | "),
                "---|".repeat(2 + SHOWN.len())
            );
        }
        let cells = SHOWN.map(|name| difference.scores.get(name).map_or_else(|| "–".into(), Summary::to_difference));
        let _ = writeln!(text, "| {} | {} | {} |", difference.method, difference.pairs, cells.join(" | "));
    }
    text
}

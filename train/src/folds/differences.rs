//! Which methods can be told apart: paired differences over the test images.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{FoldScores, Series};
use crate::config::Method;
use crate::metrics::Summary;
use crate::metrics::paired::difference;

/// Scores whose differences are shown.
const SHOWN: [&str; 4] = ["iou", "mdice", "aji", "f1@.5"];

/// How far a method lies above another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairedDifference {
    /// The method.
    pub method: String,
    /// What it is measured against: a method of the same call, or `SERIES/METHOD`.
    pub over: String,
    /// How many pairs of runs with the same fold and seed.
    pub pairs: usize,
    /// Mean over runs and images, and its interval, by score.
    pub scores: BTreeMap<String, Summary>,
}

/// How far every method lies above Scribble2Label (or, where that did not run, above the first that did), and above every method of the
/// runs beside them: differences on the same test images between runs with the same fold and seed.
pub(super) fn leads(finished: &[FoldScores], beside: &[Series], seed: u64) -> Vec<PairedDifference> {
    let ran = methods(finished);
    let mut leads = Vec::new();
    if let Some(&over) = ran.iter().find(|method| **method == Method::S2l).or(ran.first()) {
        let others = ran.iter().filter(|method| **method != over);
        leads.extend(others.filter_map(|&method| lead((finished, method), (finished, over), over.name().into(), seed)));
    }
    for series in beside {
        for over in methods(&series.finished) {
            let name = format!("{}/{}", series.name, over.name());
            leads.extend(ran.iter().filter_map(|&method| lead((finished, method), (&series.finished, over), name.clone(), seed)));
        }
    }
    leads
}

/// The methods of some runs, in the order of [`Method::ALL`].
pub(super) fn methods(finished: &[FoldScores]) -> Vec<Method> {
    Method::ALL.iter().copied().filter(|method| finished.iter().any(|run| run.method == *method)).collect()
}

/// `None` where no two runs have the same fold and seed, or none of their images are the same.
fn lead(
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

/// The leads as markdown, a table for each method that others are measured against; empty if there are none.
pub(super) fn to_markdown(leads: &[PairedDifference]) -> String {
    let mut text = String::new();
    for (i, lead) in leads.iter().enumerate() {
        // Writing to a String cannot fail.
        if i == 0 || leads[i - 1].over != lead.over {
            let _ = writeln!(
                text,
                "\nLead over {}: mean over the same test images and over runs of the same fold and seed, 95 % bootstrap interval over images and runs; * where 0 is outside of it.\n\n| method | runs | {} |\n|{}",
                lead.over,
                SHOWN.join(" | "),
                "---|".repeat(2 + SHOWN.len())
            );
        }
        let cells = SHOWN.map(|name| lead.scores.get(name).map_or_else(|| "–".into(), Summary::to_difference));
        let _ = writeln!(text, "| {} | {} | {} |", lead.method, lead.pairs, cells.join(" | "));
    }
    text
}

//! Which methods can be told apart: paired differences over the test images, and the curves of all runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use models::{Result, artifact};
use serde::Serialize;

use super::FoldScores;
use crate::config::Method;
use crate::fit::Files;
use crate::log::Log;
use crate::metrics::paired::difference;
use crate::metrics::{ScoreTable, Summary};
use crate::report::chart::{Series, chart};

/// Scores whose differences are shown.
const SHOWN: [&str; 4] = ["iou", "mdice", "aji", "f1@.5"];

/// How far a method lies above the method that others are measured against.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lead {
    /// The method.
    pub method: String,
    /// What it is measured against.
    pub over: String,
    /// Mean over images, and its interval, by score.
    pub scores: BTreeMap<String, Summary>,
}

/// How far every method lies above Scribble2Label (or, where that did not run, above the first that did): differences on the same test
/// images, of each image the mean over folds.
pub(super) fn leads(finished: &[FoldScores], seed: u64) -> Vec<Lead> {
    let ran: Vec<Method> = Method::ALL.iter().copied().filter(|method| finished.iter().any(|run| run.method == *method)).collect();
    let Some(&over) = ran.iter().find(|method| **method == Method::S2l).or(ran.first()) else { return Vec::new() };
    let of = |method: Method| finished.iter().filter(|run| run.method == method).map(|run| &run.test.table).collect::<Vec<&ScoreTable>>();
    let scores = |method: Method| {
        SHOWN.iter().filter_map(|name| Some(((*name).to_owned(), difference(&of(method), &of(over), name, seed)?))).collect()
    };
    let others = ran.iter().filter(|method| **method != over);
    others.map(|method| Lead { method: method.name().into(), over: over.name().into(), scores: scores(*method) }).collect()
}

/// The leads as a markdown table; empty if there are none.
pub(super) fn to_markdown(leads: &[Lead]) -> String {
    let Some(first) = leads.first() else { return String::new() };
    let mut text = format!(
        "\nLead over {}: mean over the same test images, 95 % bootstrap interval; * where 0 is outside of it.\n\n| method | {} |\n|{}\n",
        first.over,
        SHOWN.join(" | "),
        "---|".repeat(1 + SHOWN.len())
    );
    for lead in leads {
        let cells = SHOWN.map(|name| lead.scores.get(name).map_or_else(|| "–".into(), Summary::to_lead));
        let _ = writeln!(text, "| {} | {} |", lead.method, cells.join(" | ")); // writing to a String cannot fail
    }
    text
}

/// Writes `loss.svg` and `validation.svg`: the curves of every run in `out`.
pub(super) fn write_curves(finished: &[FoldScores], out: &Path) -> Result<()> {
    let (mut losses, mut scores) = (Vec::new(), Vec::new());
    for run in finished {
        let files = Files::of(&out.join(run.method.name()).join(format!("fold-{}", run.fold)));
        let log = Log::read(&files.log, &files.pseudo, u64::MAX)?;
        let name = format!("{}, fold {}", run.method.name(), run.fold);
        losses.push(Series::new(&name, log.rows().map(|row| (row.iteration as f64, row.scribble)).collect()));
        scores.push(Series::new(&name, log.rows().filter_map(|row| Some((row.iteration as f64, row.score?))).collect()));
    }
    for (file, title, series) in [("loss.svg", "cross-entropy on labels", losses), ("validation.svg", "validation score", scores)] {
        if let Some(svg) = chart(title, &series)? {
            artifact::write(&out.join(file), svg.as_bytes())?;
        }
    }
    Ok(())
}

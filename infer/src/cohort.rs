//! Cohort table: the summaries of all slides in an output folder.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use support::{Context, Result, bail};

use crate::output::summary::Status;
use crate::output::{SUMMARY, Summary};

/// File name of the table in the output folder.
pub const FILE: &str = "cohort.csv";
/// Header of the table: fields of [`Summary`], areas in mm² except `mean_area`, which has the unit of the summary.
const COLUMNS: [&str; 15] = [
    "slide",
    "status",
    "nuclei",
    "nuclei_per_mm2",
    "mean_area",
    "analysed_mm2",
    "skipped_mm2",
    "lost_share",
    "wall_seconds",
    "seconds_per_mm2",
    "device",
    "model",
    "model_sha256",
    "slide_sha256",
    "doubts",
];

/// Returns the text of a cell that spreadsheets do not take for a formula: an apostrophe goes before the characters that begin one.
fn plain_cell(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

/// Slides of an output folder, sorted by name.
#[derive(Debug)]
pub struct Cohort {
    /// Finished slides, with the names of their folders.
    pub done: Vec<(String, Summary)>,
    /// Folders without a summary, of unfinished runs.
    pub unfinished: Vec<String>,
}

impl Cohort {
    /// Reads `out/*/summary.json`.
    ///
    /// # Errors
    /// A folder without slides, or a file that is not a summary of this version.
    pub fn read(out: &Path) -> Result<Self> {
        let mut names: Vec<String> = Vec::new();
        for entry in std::fs::read_dir(out).doing(|| format!("looking for slides in {}", out.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && !name.starts_with('.') {
                names.push(name);
            }
        }
        names.sort();
        let mut cohort = Self { done: Vec::new(), unfinished: Vec::new() };
        for name in names {
            let path = out.join(&name).join(SUMMARY);
            if path.is_file() {
                cohort.done.push((name, Summary::read(&path)?));
            } else {
                cohort.unfinished.push(name);
            }
        }
        if cohort.done.is_empty() && cohort.unfinished.is_empty() {
            bail!("{} has no results of slides", out.display(); hint: "give the folder that `infer segment -o` wrote to");
        }
        Ok(cohort)
    }

    /// Returns a CSV table with one line per slide.
    pub fn to_csv(&self) -> Result<Vec<u8>> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(COLUMNS)?;
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.4}"));
        for (name, summary) in &self.done {
            let Summary { model, slide, run, areas, nuclei, quality, timings, .. } = summary;
            csv.write_record([
                plain_cell(name),
                status(summary.status).to_owned(),
                nuclei.count.to_string(),
                number(nuclei.per_mm2),
                number(nuclei.mean_area),
                number(areas.analysed_mm2),
                number(areas.skipped_mm2),
                number(Some(areas.lost_share)),
                number(Some(timings.wall_seconds)),
                number(timings.seconds_per_mm2),
                run.device.clone(),
                plain_cell(&model.name),
                model.sha256.clone(),
                slide.sha256.clone(),
                quality.doubts(),
            ])?;
        }
        for name in &self.unfinished {
            let mut record = vec![String::new(); COLUMNS.len()];
            (record[0], record[1]) = (plain_cell(name), "unfinished".to_owned());
            csv.write_record(record)?;
        }
        Ok(csv.into_inner()?)
    }

    /// Returns a short Markdown table, with a line of totals.
    pub fn to_markdown(&self) -> String {
        let mut text =
            String::from("| slide | status | nuclei | per mm² | analysed mm² | lost | s per mm² |\n|---|---|---|---|---|---|---|\n");
        let number = |value: Option<f64>, digits: usize| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"));
        let mut line = |name: &str, status: &str, count: u64, mm2: Option<f64>, lost: f64, seconds: Option<f64>| {
            let density = mm2.filter(|&mm2| mm2 > 0.0).map(|mm2| count as f64 / mm2);
            let (density, mm2, seconds) = (number(density, 0), number(mm2, 2), number(seconds, 1));
            let _ = writeln!(text, "| {name} | {status} | {count} | {density} | {mm2} | {:.2} % | {seconds} |", 100.0 * lost);
        };
        for (name, summary) in &self.done {
            let Summary { areas, nuclei, timings, .. } = summary;
            line(name, status(summary.status), nuclei.count, areas.analysed_mm2, areas.lost_share, timings.seconds_per_mm2);
        }
        let all: Vec<&Summary> = self.done.iter().map(|(_, summary)| summary).collect();
        let mm2 = all.iter().map(|summary| summary.areas.analysed_mm2).sum::<Option<f64>>();
        let seconds: f64 = all.iter().map(|summary| summary.timings.wall_seconds).sum();
        let pixels = |value: fn(&Summary) -> f64| all.iter().map(|summary| value(summary)).sum::<f64>();
        let lost = pixels(|s| s.areas.lost_share * s.areas.analysed_px as f64) / pixels(|s| s.areas.analysed_px as f64).max(1.0);
        let count = all.iter().map(|summary| summary.nuclei.count).sum();
        line(&format!("**{} slides**", all.len()), "", count, mm2, lost, mm2.filter(|&mm2| mm2 > 0.0).map(|mm2| seconds / mm2));
        for warning in self.warnings() {
            let _ = writeln!(text, "\n{warning}");
        }
        text
    }

    /// Returns warnings about unfinished slides and different models.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.unfinished.is_empty() {
            warnings.push(format!("not finished: {}", self.unfinished.join(", ")));
        }
        let models: BTreeSet<&str> = self.done.iter().map(|(_, summary)| summary.model.sha256.as_str()).collect();
        if models.len() > 1 {
            warnings.push(format!("segmented by {} different models: their numbers are not comparable", models.len()));
        }
        warnings
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Complete => "complete",
        Status::Incomplete => "incomplete",
    }
}

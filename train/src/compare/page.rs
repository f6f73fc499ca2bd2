//! Scores, differences and pictures of compared networks as text, CSV and HTML page.

use std::fmt::Write as _;
use std::path::Path;

use support::Result;

use super::Compared;
use crate::metrics::Summary;
use crate::metrics::paired::difference;
use crate::report::chart::{Series, chart};
use crate::report::page::Page;

/// Scores in tables, by their names in [`crate::metrics::Scores::named`].
const SHOWN: [&str; 4] = ["iou", "mdice", "aji", "f1@.5"];

/// Formats the tables for a terminal.
pub(super) fn text(compared: &[Compared], seed: u64) -> String {
    let mut text = String::new();
    let mut table = |title: &str, rows: Vec<Vec<String>>| {
        let _ = writeln!(text, "{title}"); // writing to a String cannot fail
        let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0);
        for row in [head()].iter().chain(&rows) {
            let cells: Vec<String> = row[1..].iter().map(|cell| format!("{cell:>26}")).collect();
            let _ = writeln!(text, "{:<width$}{}", row[0], cells.concat());
        }
    };
    table("mean over images [95 % bootstrap interval]", score_rows(compared));
    if compared.len() > 1 {
        table(&differences_title(compared), difference_rows(compared, seed));
    }
    text
}

/// Lists every score of every image and run as CSV.
pub(super) fn scores_csv(compared: &[Compared]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["run", "image", "score", "value"])?;
    for run in compared {
        for (image, scores) in &run.scores.images {
            for (name, value) in scores.named() {
                writer.write_record([&run.name, image, name, &format!("{value:.6}")])?;
            }
        }
    }
    Ok(writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

/// Makes the page; `shown` are the images on the page: index and PNG file.
pub(super) fn page(data: &Path, compared: &[Compared], shown: &[(usize, &[u8])], seed: u64) -> Result<String> {
    let mut page = Page::new(&format!("Comparison on {}", data.display()));
    let head = head();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    page.section("Scores");
    page.line("Mean over images [95 % bootstrap interval over images].");
    page.table(&head, &score_rows(compared));
    if compared.len() > 1 {
        page.line(&differences_title(compared));
        page.table(&head, &difference_rows(compared, seed));
    }
    page.section("Curves");
    for (title, series) in [("training cross-entropy on labels", losses(compared)), ("validation score", validations(compared))] {
        page.figure(chart(title, &series)?.as_deref());
    }
    page.section("Images");
    let names: Vec<&str> = compared.iter().map(|run| run.name.as_str()).collect();
    page.line(&format!(
        "From the best to the worst IoU of {}. From left to right: image, true nuclei (cyan), {}.",
        names[names.len() - 1],
        names.join(", ")
    ));
    for &(i, png) in shown {
        let ious: Vec<String> = compared.iter().map(|run| format!("{} {:.3}", run.name, run.scores.images[i].1.iou)).collect();
        page.picture(&format!("{}: IoU {}", compared[0].scores.images[i].0, ious.join(", ")), png);
    }
    Ok(page.finish())
}

/// Returns the head of the tables.
fn head() -> Vec<String> {
    [""].into_iter().chain(SHOWN).map(str::to_owned).collect()
}

fn differences_title(compared: &[Compared]) -> String {
    format!("Difference from {} on the same images [95 % bootstrap interval]; * if the interval excludes 0", compared[0].name)
}

fn score_rows(compared: &[Compared]) -> Vec<Vec<String>> {
    let cell = |run: &Compared, name| run.scores.get(name).map_or_else(String::new, Summary::to_score);
    compared.iter().map(|run| [vec![run.name.clone()], SHOWN.map(|name| cell(run, name)).to_vec()].concat()).collect()
}

fn difference_rows(compared: &[Compared], seed: u64) -> Vec<Vec<String>> {
    let cell = |run: &Compared, name| {
        difference(&[(&run.scores, &compared[0].scores)], name, seed).map_or_else(String::new, |d| d.to_difference())
    };
    compared[1..].iter().map(|run| [vec![run.name.clone()], SHOWN.map(|name| cell(run, name)).to_vec()].concat()).collect()
}

fn losses(compared: &[Compared]) -> Vec<Series> {
    let of = |run: &Compared| run.log.rows().map(|row| (row.iteration as f64, row.scribble)).collect();
    compared.iter().map(|run| Series::new(&run.name, of(run))).collect()
}

fn validations(compared: &[Compared]) -> Vec<Series> {
    let of = |run: &Compared| run.log.rows().filter_map(|row| Some((row.iteration as f64, row.score?))).collect();
    compared.iter().map(|run| Series::new(&run.name, of(run))).collect()
}

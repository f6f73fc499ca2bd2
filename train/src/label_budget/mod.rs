//! Label budget: scores against the fraction of labelled pixels (`train label-budget`). One run for each kind of scribbles, which are made
//! from the instance labels, and one on complete masks, tabulated and plotted.

mod plot;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use support::console::Progress;
use support::{Context, Error, Result, bail, durable};

use crate::config::{Method, RunConfig};
use crate::data::{Folder, Split};
use crate::evaluate::Evaluation;
use crate::fit::Outcome;
use crate::make_scribbles::{Kind, write_scribbles};
use crate::metrics::summary::Summary;
use crate::run_folder::{DataSummary, RunFolder};
use crate::scored_run::scored_run;

/// Options of [`run`].
#[derive(Clone, Debug)]
pub struct LabelBudgetOptions {
    /// Configuration of all runs; its data folder needs `labels/` for every image, and test images (`index.csv` or `data.fold`).
    pub config: RunConfig,
    /// Folder for data folders, runs, table and plot.
    pub out: PathBuf,
    /// Runs on automatic scribbles, by fraction of the skeletons in per cent, 1 to 100.
    pub ratios: Vec<u32>,
    /// Run on simulated strokes, with this fraction of the nuclei, 0 to 1; 0 leaves the run out.
    pub strokes: f64,
    /// Run on complete masks.
    pub full: bool,
    /// Seed of the scribbles.
    pub scribble_seed: u64,
}

/// Scores of a finished run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Labels: `auto-30`, `strokes-50`, `full`.
    pub labels: String,
    /// Method.
    pub method: Method,
    /// Labelled fraction of the pixels of the training images, 0 to 1.
    #[serde(rename = "share")]
    pub labelled_fraction: f64,
    /// Number of optimiser steps done.
    pub iterations: u64,
    /// Scores of the test images.
    pub test: Evaluation,
}

/// Scores in table and plot, by their names in [`crate::metrics::Scores::named`].
const SHOWN: [&str; 4] = ["iou", "mdice", "aji", "f1@.5"];

/// Makes all unfinished runs, and writes `table.md`, `table.csv`, `table.json` and `plot.svg` after each; returns the table as Markdown,
/// or `None` if stopped.
pub fn run(options: &LabelBudgetOptions, report: &dyn Progress, stop: &AtomicBool) -> Result<Option<String>> {
    if !(0.0..=1.0).contains(&options.strokes) {
        bail!("--strokes: expected a fraction from 0 to 1, found {}", options.strokes);
    }
    let base = &options.config;
    let mut points = Vec::new();
    for (name, kind) in kinds(options) {
        let mut config = base.clone();
        match kind {
            Some(kind) => {
                let folder = options.out.join("data").join(&name);
                config.data.folder = scribbled_folder(&base.data.folder, &folder, kind, options.scribble_seed)?;
            }
            None => config.method.name = Method::Full,
        }
        config.check()?;
        let out = options.out.join("runs").join(&name);
        let summary = |outcome: Outcome, test| Point {
            labels: name.clone(),
            method: config.method.name,
            labelled_fraction: labelled_fraction(&out).unwrap_or(f64::NAN),
            iterations: outcome.iterations,
            test,
        };
        let point = scored_run(&out, &config, summary, report, stop).doing(|| format!("training in {}", out.display()))?;
        let Some(point) = point else { return Ok(None) };
        points.push(point);
        write(&points, &options.out)?;
    }
    Ok(Some(markdown(&points)))
}

/// Lists the runs: name, and kind of scribbles or `None` for complete masks.
fn kinds(options: &LabelBudgetOptions) -> Vec<(String, Option<Kind>)> {
    let auto = options.ratios.iter().map(|&ratio| (format!("auto-{ratio}"), Some(Kind::Auto(ratio))));
    let strokes = Some(options.strokes).filter(|fraction| *fraction > 0.0);
    let strokes = strokes.map(|fraction| (format!("strokes-{:.0}", 100.0 * fraction), Some(Kind::Strokes(fraction))));
    let full = options.full.then(|| ("full".to_owned(), None));
    strokes.into_iter().chain(auto).chain(full).collect()
}

/// Makes a data folder with the images and labels of `data` and scribbles of this kind; a complete folder is kept.
fn scribbled_folder(data: &Path, folder: &Path, kind: Kind, seed: u64) -> Result<PathBuf> {
    /// File that marks a complete folder, written last.
    const COMPLETE: &str = "scribbles.txt";
    if folder.join(COMPLETE).exists() {
        return Ok(folder.to_owned());
    }
    let source = Folder::open(data)?;
    let index = data.join("index.csv");
    let files = source.images.values().chain(source.labels.values()).chain(index.exists().then_some(&index));
    for file in files {
        link_or_copy(file, &folder.join(file.strip_prefix(data).unwrap_or(file)))?;
    }
    write_scribbles(folder, kind, seed, true)?;
    durable::write(&folder.join(COMPLETE), format!("{kind:?}, seed {seed}\n").as_bytes())?;
    Ok(folder.to_owned())
}

/// Makes a hard link to a file, or a copy if the file systems differ; an existing file is kept.
fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    /// Largest file that is copied, in bytes.
    const MAX_FILE_BYTES: u64 = 1 << 32;
    if to.exists() {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).doing(|| format!("making {}", folder.display()))?;
    }
    if std::fs::hard_link(from, to).is_err() {
        durable::write(to, &durable::read(from, MAX_FILE_BYTES)?)?;
    }
    Ok(())
}

/// Returns the labelled fraction of the pixels of the training images, from the `data.json` of a run.
fn labelled_fraction(run: &Path) -> Result<f64> {
    let path = RunFolder::at(run).data;
    let data = DataSummary::read(&path)?;
    let training = data.splits.iter().find(|split| split.split == Split::Train.name());
    let fraction = training.map(|split| (split.background + split.foreground) as f64 / split.pixels.max(1) as f64);
    fraction.ok_or_else(|| Error::new(format!("{}: no training images", path.display())))
}

/// Writes the table in three formats, and the plot.
fn write(points: &[Point], out: &Path) -> Result<()> {
    durable::write(&out.join("table.md"), markdown(points).as_bytes())?;
    durable::write(&out.join("table.csv"), &csv(points)?)?;
    durable::write(&out.join("table.json"), &serde_json::to_vec_pretty(points)?)?;
    durable::write(&out.join("plot.svg"), plot::plot(points)?.as_bytes())
}

fn csv(points: &[Point]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["labels", "method", "share", "score", "mean", "sd", "low", "high"])?;
    for point in points {
        for name in SHOWN {
            let Some(Summary { mean, sd, low, high }) = point.test.table.get(name) else { continue };
            writer.serialize((&point.labels, point.method, point.labelled_fraction, name, mean, sd, low, high))?;
        }
    }
    Ok(writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

fn markdown(points: &[Point]) -> String {
    let mut text = format!("| labels | labelled, % | method | {} |\n|{}\n", SHOWN.join(" | "), "---|".repeat(3 + SHOWN.len()));
    for point in points {
        let _ = write!(text, "| {} | {:.3} | {} ", point.labels, 100.0 * point.labelled_fraction, point.method); // writing to a String cannot fail
        for name in SHOWN {
            let Some(Summary { mean, low, high, .. }) = point.test.table.get(name) else { continue };
            let _ = write!(text, "| {mean:.3} [{low:.3}, {high:.3}] ");
        }
        text.push_str("|\n");
    }
    text
}

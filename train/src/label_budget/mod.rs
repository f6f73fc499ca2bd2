//! `train label-budget`: what each share of labelled pixels is worth. One run for each kind of scribbles, made from the instance
//! labels, and one on complete masks; scores on the test images, as a table and a plot.

mod plot;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use support::console::Progress;
use support::{Context, Error, Result, artifact, bail};

use crate::config::{Method, Profile, RunConfig, choice};
use crate::data::{Folder, Split};
use crate::evaluate::command::Evaluation;
use crate::folds::scored_run;
use crate::make_scribbles::{Kind, write_scribbles};
use crate::metrics::summary::Summary;

/// Arguments of `train label-budget`.
#[derive(Clone, Debug, clap::Args)]
pub struct LabelBudgetArgs {
    /// Configuration of the runs (TOML); its data folder needs labels/ for every image, and test images (index.csv or data.fold)
    pub config: PathBuf,
    /// Folder for data folders, runs, table and plot
    #[arg(short, long)]
    pub out: PathBuf,
    /// Values for what the configuration leaves out: default, scratch, paper, `paper_monuseg`
    #[arg(long, default_value = "default", value_parser = choice::parse::<Profile>)]
    pub profile: Profile,
    /// Automatic scribbles on these shares of nuclei, in per cent
    #[arg(long, value_delimiter = ',', default_value = "10,30,50,100", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub ratios: Vec<u32>,
    /// Simulated strokes on this share of nuclei, 0 to 1; 0 for no such run
    #[arg(long, default_value_t = 0.5)]
    pub strokes: f64,
    /// Leave out the run on complete masks
    #[arg(long)]
    pub without_full: bool,
    /// Seed of the scribbles
    #[arg(long, default_value_t = 0)]
    pub scribble_seed: u64,
    /// Set one value, as in `--set run.iterations=2000`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// What a finished run scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// `auto-30`, `strokes-50`, `full`.
    pub labels: String,
    /// The method.
    pub method: Method,
    /// Labelled share of the training images' pixels, 0 to 1.
    pub share: f64,
    /// Steps done.
    pub iterations: u64,
    /// Scores of the test images.
    pub test: Evaluation,
}

/// Scores in table and plot, by their names in [`crate::metrics::Scores::named`].
const SHOWN: [&str; 4] = ["iou", "mdice", "aji", "f1@.5"];

/// Runs what is not finished yet, writes `table.md`, `table.csv`, `table.json` and `plot.svg`; returns the table, or `None` if it was stopped.
pub fn run(arguments: &LabelBudgetArgs, report: &dyn Progress, stop: &AtomicBool) -> Result<Option<String>> {
    if !(0.0..=1.0).contains(&arguments.strokes) {
        bail!("--strokes: expected 0 to 1, found {}", arguments.strokes);
    }
    let base = RunConfig::load(&arguments.config, arguments.profile, &arguments.sets)?;
    let mut points = Vec::new();
    for (name, kind) in kinds(arguments) {
        let mut config = base.clone();
        match kind {
            Some(kind) => config.data.folder = scribbled(&base.data.folder, &arguments.out.join("data").join(&name), kind, arguments)?,
            None => config.method.name = Method::Full,
        }
        config.check()?;
        let out = arguments.out.join("runs").join(&name);
        let summary = |outcome: crate::fit::Outcome, test| Point {
            labels: name.clone(),
            method: config.method.name,
            share: labelled_share(&out).unwrap_or(f64::NAN),
            iterations: outcome.iterations,
            test,
        };
        let point = scored_run(&out, &config, summary, report, stop).doing(|| format!("training in {}", out.display()))?;
        let Some(point) = point else { return Ok(None) };
        points.push(point);
        write(&points, &arguments.out)?;
    }
    Ok(Some(markdown(&points)))
}

fn kinds(arguments: &LabelBudgetArgs) -> Vec<(String, Option<Kind>)> {
    let auto = arguments.ratios.iter().map(|&ratio| (format!("auto-{ratio}"), Some(Kind::Auto(ratio))));
    let strokes = Some(arguments.strokes).filter(|share| *share > 0.0);
    let strokes = strokes.map(|share| (format!("strokes-{:.0}", 100.0 * share), Some(Kind::Strokes(share))));
    let full = (!arguments.without_full).then(|| ("full".to_owned(), None));
    strokes.into_iter().chain(auto).chain(full).collect()
}

/// A data folder with the images and labels of `data` and scribbles of this kind; one that is there already stays.
fn scribbled(data: &Path, folder: &Path, kind: Kind, arguments: &LabelBudgetArgs) -> Result<PathBuf> {
    /// Written last: the folder is complete.
    const MARK: &str = "scribbles.txt";
    if folder.join(MARK).exists() {
        return Ok(folder.to_owned());
    }
    let from = Folder::open(data)?;
    let index = data.join("index.csv");
    let files = from.images.values().chain(from.labels.values()).chain(index.exists().then_some(&index));
    for file in files {
        let to = folder.join(file.strip_prefix(data).unwrap_or(file));
        same_file(file, &to)?;
    }
    write_scribbles(folder, kind, arguments.scribble_seed, true)?;
    artifact::write(&folder.join(MARK), format!("{kind:?}, seed {}\n", arguments.scribble_seed).as_bytes())?;
    Ok(folder.to_owned())
}

/// A second name for a file, or, across file systems, a copy.
fn same_file(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).doing(|| format!("making {}", folder.display()))?;
    }
    if std::fs::hard_link(from, to).is_err() {
        artifact::write(to, &artifact::read(from, 1 << 32)?)?;
    }
    Ok(())
}

/// The labelled share of the training images, from a run's `data.json`.
fn labelled_share(run: &Path) -> Result<f64> {
    let path = crate::fit::Files::of(run).data;
    let data: crate::fit::DataSummary =
        serde_json::from_slice(&artifact::read(&path, 1 << 24)?).doing(|| format!("reading {}", path.display()))?;
    let training = data.splits.iter().find(|split| split.split == Split::Train.name());
    let share = training.map(|split| (split.background + split.foreground) as f64 / split.pixels.max(1) as f64);
    share.ok_or_else(|| Error::new(format!("{}: no training images", path.display())))
}

fn write(points: &[Point], out: &Path) -> Result<()> {
    artifact::write(&out.join("table.md"), markdown(points).as_bytes())?;
    artifact::write(&out.join("table.csv"), &csv(points)?)?;
    artifact::write(&out.join("table.json"), &serde_json::to_vec_pretty(points)?)?;
    artifact::write(&out.join("plot.svg"), plot::plot(points)?.as_bytes())
}

fn csv(points: &[Point]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["labels", "method", "share", "score", "mean", "sd", "low", "high"])?;
    for point in points {
        for name in SHOWN {
            let Some(Summary { mean, sd, low, high }) = point.test.table.get(name) else { continue };
            writer.serialize((&point.labels, point.method, point.share, name, mean, sd, low, high))?;
        }
    }
    Ok(writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

fn markdown(points: &[Point]) -> String {
    let mut text = format!("| labels | labelled, % | method | {} |\n|{}\n", SHOWN.join(" | "), "---|".repeat(3 + SHOWN.len()));
    for point in points {
        let _ = write!(text, "| {} | {:.3} | {} ", point.labels, 100.0 * point.share, point.method); // a String takes everything
        for name in SHOWN {
            let Some(Summary { mean, low, high, .. }) = point.test.table.get(name) else { continue };
            let _ = write!(text, "| {mean:.3} [{low:.3}, {high:.3}] ");
        }
        text.push_str("|\n");
    }
    text
}

//! `report.html`: one page that holds everything needed to judge a run, made from the files in the run's folder.

pub(crate) mod chart;
pub(crate) mod page;

use std::path::{Path, PathBuf};

use support::{Context, Result, artifact};

use crate::checkpoint;
use crate::fit::{DataSummary, Files};
use crate::log::Log;
use chart::{Series, chart};
use page::Page;

/// Arguments of `train report`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// Folder of a run
    pub run: PathBuf,
}

/// Runs `train report`; returns what to print.
pub fn run(arguments: &ReportArgs) -> Result<String> {
    write(&arguments.run)?;
    Ok(format!("wrote {}\n", Files::of(&arguments.run).report.display()))
}

/// Writes `report.html` from `config.toml`, `data.json`, the logs, `best.safetensors` and `overlays/` in `folder`; what is missing is left out.
pub fn write(folder: &Path) -> Result<()> {
    let files = Files::of(folder);
    let config_file = folder.join("config.toml");
    let config =
        String::from_utf8(artifact::read(&config_file, 1 << 20).hint(|| "give the folder of a run: the one named with `train fit -o`")?)
            .doing(|| format!("reading {}", config_file.display()))?;
    let log = Log::read(&files.log, &files.pseudo, u64::MAX)?;
    let mut page = Page::new(&format!("Run {}", folder.display()));
    result(&mut page, &files, &log)?;
    data(&mut page, &files)?;
    curves(&mut page, &log)?;
    pseudo_labels(&mut page, &log)?;
    overlays(&mut page, &files)?;
    page.section("Configuration");
    page.text_block(&config);
    artifact::write(&files.report, page.finish().as_bytes())
}

fn result(page: &mut Page, files: &Files, log: &Log) -> Result<()> {
    page.section("Result");
    let mut rows = Vec::new();
    if let Some(last) = log.rows().last() {
        rows.push(vec!["iterations".into(), last.iteration.to_string()]);
        rows.push(vec!["time".into(), format!("{:.1} min", last.seconds / 60.0)]);
    }
    if files.best.exists() {
        let file = checkpoint::open(&files.best)?;
        let text = file.metadata.get("training").map_or("", String::as_str);
        let training: models::card::Training = serde_json::from_str(text).doing(|| format!("reading {}", files.best.display()))?;
        rows.push(vec!["best checkpoint".into(), format!("after {} iterations", training.iterations)]);
        for metric in training.metrics {
            rows.push(vec![metric.name, format!("{:.4} on {}", metric.value, metric.measured_on)]);
        }
    }
    page.table(&["", ""], &rows);
    Ok(())
}

fn data(page: &mut Page, files: &Files) -> Result<()> {
    if !files.data.exists() {
        return Ok(());
    }
    let summary: DataSummary =
        serde_json::from_slice(&artifact::read(&files.data, 1 << 24)?).doing(|| format!("reading {}", files.data.display()))?;
    page.section("Data");
    page.line(&format!("{}; the best checkpoint is chosen by {}", summary.folder, summary.validated_on));
    let share = |part: u64, whole: u64| format!("{:.3} %", 100.0 * part as f64 / whole.max(1) as f64);
    let rows: Vec<Vec<String>> = summary
        .splits
        .iter()
        .map(|s| {
            let strokes = s.background + s.foreground;
            let counts = [s.images, s.with_labels].map(|n| n.to_string());
            let pixels = [s.background, s.foreground].map(|n| n.to_string());
            [vec![s.split.clone()], counts.to_vec(), pixels.to_vec(), vec![share(strokes, s.pixels)]].concat()
        })
        .collect();
    page.table(&["split", "images", "with masks", "background strokes, px", "nucleus strokes, px", "labelled"], &rows);
    let sizes: Vec<String> = summary.sizes.iter().map(|(size, n)| format!("{n} of {size}")).collect();
    page.line(&format!("sizes: {}", sizes.join(", ")));
    Ok(())
}

fn curves(page: &mut Page, log: &Log) -> Result<()> {
    let of = |value: &dyn Fn(&crate::log::Row) -> Option<f64>| -> Vec<(f64, f64)> {
        log.rows().filter_map(|row| Some((row.iteration as f64, value(row)?))).collect()
    };
    page.section("Losses");
    let mut losses = vec![
        Series::new("total", of(&|row| Some(row.loss))),
        Series::new("scribbles", of(&|row| Some(row.scribble))),
        Series::new("pseudo-labels", of(&|row| (row.stage == 2).then_some(row.pseudo))),
    ];
    for head in log.rows().last().map_or_else(Vec::new, |row| row.terms().into_iter().map(|(head, _)| head).collect()) {
        let values = of(&|row| row.terms().into_iter().find(|(name, _)| *name == head).map(|(_, value)| value));
        losses.push(Series::new(&format!("contrast {head}, without its factor"), values));
    }
    page.figure(chart("loss", &losses)?.as_deref());
    page.section("Validation");
    page.figure(chart("validation score, higher is better", &[Series::new("score", of(&|row| row.score))])?.as_deref());
    page.section("Learning rate");
    page.figure(chart("factor of the learning rates", &[Series::new("factor", of(&|row| Some(row.rate)))])?.as_deref());
    Ok(())
}

fn pseudo_labels(page: &mut Page, log: &Log) -> Result<()> {
    let all: Vec<_> = log.pseudo().collect();
    let Some((at, last)) = all.last() else { return Ok(()) };
    page.section("Pseudo-labels against masks");
    let share = |part: u64, rest: &[u64]| part as f64 / (part + rest.iter().sum::<u64>()).max(1) as f64;
    let of = |value: &dyn Fn(&crate::metrics::pseudo::Confusion) -> f64| all.iter().map(|(i, c)| (*i as f64, value(c))).collect::<Vec<_>>();
    let series = [
        Series::new("trusted, of all pixels", of(&|c| c.coverage_and_accuracy().0)),
        Series::new("right, of the trusted", of(&|c| c.coverage_and_accuracy().1)),
        Series::new("nuclei that are labelled so", of(&|c| share(c.nucleus_as_nucleus, &[c.nucleus_as_background, c.nucleus_ignored]))),
        Series::new("nucleus labels that are right", of(&|c| share(c.nucleus_as_nucleus, &[c.background_as_nucleus]))),
    ];
    page.figure(chart("share of unscribbled training pixels", &series)?.as_deref());
    page.line(&format!("After {at} iterations, pixels of training images without a stroke:"));
    let row = |name: &str, counts: [u64; 3]| [vec![name.to_owned()], counts.iter().map(u64::to_string).collect()].concat();
    page.table(
        &["truth", "labelled nucleus", "labelled background", "not trusted"],
        &[
            row("nucleus", [last.nucleus_as_nucleus, last.nucleus_as_background, last.nucleus_ignored]),
            row("background", [last.background_as_nucleus, last.background_as_background, last.background_ignored]),
        ],
    );
    Ok(())
}

fn overlays(page: &mut Page, files: &Files) -> Result<()> {
    /// The largest picture that is put into the page.
    const MAX_BYTES: u64 = 64 << 20;
    if !files.overlays.is_dir() {
        return Ok(());
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(&files.overlays).doing(|| format!("listing {}", files.overlays.display()))? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "png"));
    paths.sort();
    page.section("Samples");
    page.line("Image, strokes, pseudo-labels (training images), what is found (yellow), truth (cyan), as far as there are any.");
    for path in paths {
        page.picture(&path.file_stem().unwrap_or_default().to_string_lossy(), &artifact::read(&path, MAX_BYTES)?);
    }
    Ok(())
}

//! Report of a run: one self-contained page with its result, data, curves and overlays, made from the files in its folder
//! (`report.html`, `train report`).

pub(crate) mod chart;
pub(crate) mod page;

use std::path::{Path, PathBuf};

use support::{Context, Result, durable};

use crate::checkpoint;
use crate::log::{Log, Row};
use crate::metrics::pseudo::Confusion;
use crate::run_folder::{DataSummary, RunFolder};
use chart::{Series, chart};
use page::Page;

/// Largest `config.toml` that is read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Largest overlay that is embedded, in bytes.
const MAX_OVERLAY_BYTES: u64 = 64 << 20;

/// Writes `report.html` from `config.toml`, `data.json`, the logs, `best.safetensors` and `overlays/` in `folder`. All but `config.toml` may
/// be missing; their sections are left out.
pub fn write(folder: &Path) -> Result<()> {
    let files = RunFolder::at(folder);
    let bytes = durable::read(&files.config, MAX_CONFIG_BYTES).hint(|| "give the folder of a run: the one named with `train fit -o`")?;
    let config = String::from_utf8(bytes).doing(|| format!("reading {}", files.config.display()))?;
    let log = Log::read(&files.log, &files.pseudo_labels, u64::MAX)?;
    let mut page = Page::new(&format!("Run {}", folder.display()));
    result(&mut page, &files, &log)?;
    data(&mut page, &files)?;
    curves(&mut page, &log)?;
    pseudo_labels(&mut page, &log)?;
    overlays(&mut page, &files)?;
    page.section("Configuration");
    page.text_block(&config);
    durable::write(&files.report, page.finish().as_bytes())
}

fn result(page: &mut Page, files: &RunFolder, log: &Log) -> Result<()> {
    page.section("Result");
    let mut rows = Vec::new();
    if let Some(last) = log.rows().last() {
        rows.push(vec!["iterations".into(), last.iteration.to_string()]);
        rows.push(vec!["training time".into(), format!("{:.1} min", last.seconds / 60.0)]);
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

fn data(page: &mut Page, files: &RunFolder) -> Result<()> {
    if !files.data.exists() {
        return Ok(());
    }
    let summary = DataSummary::read(&files.data)?;
    page.section("Data");
    page.line(&format!("Folder: {}", summary.folder));
    page.line(&format!("Model selection: {}", model_selection(&summary.validated_on)));
    let per_cent = |part: u64, whole: u64| format!("{:.3} %", 100.0 * part as f64 / whole.max(1) as f64);
    let rows: Vec<Vec<String>> = summary
        .splits
        .iter()
        .map(|s| {
            let strokes = s.background + s.foreground;
            let counts = [s.images, s.with_labels].map(|n| n.to_string());
            let pixels = [s.background, s.foreground].map(|n| n.to_string());
            [vec![s.split.clone()], counts.to_vec(), pixels.to_vec(), vec![per_cent(strokes, s.pixels)]].concat()
        })
        .collect();
    page.table(&["split", "images", "with masks", "background strokes, px", "nucleus strokes, px", "labelled pixels"], &rows);
    let sizes: Vec<String> = summary.sizes.iter().map(|(size, n)| format!("{n} of {size}")).collect();
    page.line(&format!("Image sizes: {}", sizes.join(", ")));
    Ok(())
}

/// Describes the choice of `best.safetensors`, from [`DataSummary::validated_on`].
fn model_selection(validated_on: &str) -> String {
    match validated_on {
        "nothing" => "none (last checkpoint)".into(),
        labels => format!("highest validation score, measured on {labels}"),
    }
}

fn curves(page: &mut Page, log: &Log) -> Result<()> {
    let of = |value: &dyn Fn(&Row) -> Option<f64>| -> Vec<(f64, f64)> {
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
        losses.push(Series::new(&format!("contrast {head}, unweighted"), values));
    }
    page.figure(chart("loss", &losses)?.as_deref());
    page.section("Validation");
    page.figure(chart("validation score, higher is better", &[Series::new("score", of(&|row| row.score))])?.as_deref());
    page.section("Learning rate");
    page.figure(chart("learning rate factor", &[Series::new("factor", of(&|row| Some(row.rate)))])?.as_deref());
    Ok(())
}

fn pseudo_labels(page: &mut Page, log: &Log) -> Result<()> {
    let all: Vec<_> = log.pseudo_labels().collect();
    let Some((iteration, last)) = all.last() else { return Ok(()) };
    page.section("Pseudo-labels compared with masks");
    let fraction = |part: u64, rest: &[u64]| part as f64 / (part + rest.iter().sum::<u64>()).max(1) as f64;
    let of = |value: &dyn Fn(&Confusion) -> f64| all.iter().map(|(i, c)| (*i as f64, value(c))).collect::<Vec<_>>();
    let series = [
        Series::new("coverage: labelled, of all pixels", of(&|c| c.coverage_and_accuracy().0)),
        Series::new("accuracy: correct, of labelled pixels", of(&|c| c.coverage_and_accuracy().1)),
        Series::new("recall of nuclei", of(&|c| fraction(c.nucleus_as_nucleus, &[c.nucleus_as_background, c.nucleus_ignored]))),
        Series::new("precision of nuclei", of(&|c| fraction(c.nucleus_as_nucleus, &[c.background_as_nucleus]))),
    ];
    page.figure(chart("fraction of training pixels without scribble", &series)?.as_deref());
    page.line(&format!("Pixels of training images without a stroke, after {iteration} iterations:"));
    let row = |name: &str, counts: [u64; 3]| [vec![name.to_owned()], counts.iter().map(u64::to_string).collect()].concat();
    page.table(
        &["truth", "labelled nucleus", "labelled background", "ignored (low confidence)"],
        &[
            row("nucleus", [last.nucleus_as_nucleus, last.nucleus_as_background, last.nucleus_ignored]),
            row("background", [last.background_as_nucleus, last.background_as_background, last.background_ignored]),
        ],
    );
    Ok(())
}

fn overlays(page: &mut Page, files: &RunFolder) -> Result<()> {
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
    page.line(
        "From left to right, as available: image, strokes, pseudo-labels (training images), predicted nuclei (yellow), true nuclei (cyan).",
    );
    for path in paths {
        page.picture(&path.file_stem().unwrap_or_default().to_string_lossy(), &durable::read(&path, MAX_OVERLAY_BYTES)?);
    }
    Ok(())
}

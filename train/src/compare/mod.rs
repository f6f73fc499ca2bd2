//! Comparison of trained networks on the same labelled images: scores, differences, curves and pictures (`train compare`).
//!
//! Pictures are laid out as in figure 2 of the ISBI 2022 paper: one row per image, with image, truth and each network.

mod figure;
mod page;

use std::path::{Path, PathBuf};

use models::decode::instances;
use models::plane::Plane;
use support::durable::OutputFolder;
use support::{Context, Result, bail};

use crate::checkpoint::open_network;
use crate::config::DeviceChoice;
use crate::data::image_file::png_of_rgb;
use crate::data::{Dataset, Folder, Sample, Split};
use crate::evaluate::score;
use crate::log::Log;
use crate::metrics::ScoreTable;
use crate::predict::views::averaged_probabilities;
use crate::predict::{Predictor, quantised};
use crate::run_folder::RunFolder;
use crate::thread_pool::in_pool;

/// Options of [`compare`].
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// Data folder with `images/` and `labels/`.
    pub data: PathBuf,
    /// Folders of runs, or checkpoints, at least one; differences are relative to the first.
    pub runs: Vec<PathBuf>,
    /// Folder for `compare.html`, `scores.csv` and `figures/`.
    pub out: PathBuf,
    /// Names of the runs in their order; empty for the names of their folders.
    pub names: Vec<String>,
    /// Only images of this split; `None` for all.
    pub split: Option<Split>,
    /// Only images of this modality; `None` for all.
    pub modality: Option<String>,
    /// Number of images on the page, evenly spaced from the best to the worst `IoU` of the last run.
    pub images: usize,
    /// Device of the networks.
    pub device: DeviceChoice,
}

/// Network with its predictions and scores.
struct Compared {
    name: String,
    scores: ScoreTable,
    /// Predicted instances, one map per sample.
    predicted: Vec<Plane<u32>>,
    /// Log of the run; empty for a checkpoint outside the folder of a run.
    log: Log,
}

/// Writes `compare.html`, `scores.csv` and `figures/ID.png`; returns the tables as text.
pub fn compare(options: &CompareOptions) -> Result<String> {
    let names = names(options)?;
    let (_, config) = open_network(&options.runs[0], options.device)?;
    let dataset = Dataset::load_labelled(&options.data, options.split, options.modality.as_deref(), &config.data)?;
    let samples: Vec<&Sample> = dataset.samples.iter().collect();
    let mut out = output_folder(options, &samples)?;
    let mut compared = Vec::new();
    for (run, name) in options.runs.iter().zip(names) {
        tracing::info!("{name}: {} images", samples.len());
        compared.push(predicted(run, name, &samples, options.device).doing(|| format!("running {}", run.display()))?);
    }
    let mut pictures = vec![Vec::new(); samples.len()];
    for (i, sample) in samples.iter().enumerate() {
        pictures[i] = png_of_rgb(&figure::row(sample, compared.iter().map(|run| &run.predicted[i])))?;
        out.write(&figure_name(sample), &pictures[i])?;
    }
    out.write("scores.csv", &page::scores_csv(&compared)?)?;
    let order = figure::best_to_worst(&compared[compared.len() - 1].scores);
    let shown: Vec<(usize, &[u8])> = figure::spread(&order, options.images).into_iter().map(|i| (i, pictures[i].as_slice())).collect();
    let html = page::page(&options.data, &compared, &shown, config.run.seed)?;
    out.write("compare.html", html.as_bytes())?;
    Ok(page::text(&compared, config.run.seed))
}

/// Opens the folder of the outputs and checks that none of their names is taken.
fn output_folder(options: &CompareOptions, samples: &[&Sample]) -> Result<OutputFolder> {
    let inputs = options.runs.iter().cloned().chain(Folder::parts(&options.data)).collect::<Vec<_>>();
    let out = OutputFolder::open(&options.out, "train compare", &inputs.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    let figures = samples.iter().map(|sample| figure_name(sample));
    figures.chain(["scores.csv".into(), "compare.html".into()]).try_for_each(|name| out.check(&name))?;
    Ok(out)
}

/// Returns the name of a sample's figure in the output folder.
fn figure_name(sample: &Sample) -> String {
    format!("figures/{}.png", sample.id)
}

/// Returns distinct names of the runs: those given, else the names of their folders, else their whole paths.
fn names(options: &CompareOptions) -> Result<Vec<String>> {
    let (given, runs) = (options.names.len(), options.runs.len());
    if given > 0 && given != runs {
        bail!("--names has {given} names for {runs} runs"; hint: "give one name for each run, in their order");
    }
    let file_name = |path: &PathBuf| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let file_names: Vec<String> = options.runs.iter().map(file_name).collect();
    let paths: Vec<String> = options.runs.iter().map(|path| path.display().to_string()).collect();
    let has_duplicates = |names: &[String]| names.iter().enumerate().any(|(i, name)| names[..i].contains(name));
    let names = match (given, has_duplicates(&file_names)) {
        (0, false) => file_names,
        (0, true) => paths,
        _ => options.names.clone(),
    };
    if has_duplicates(&names) {
        bail!("two of the runs have one name: {}", names.join(", "); hint: "give each run once, or distinct names with --names a,b,...");
    }
    Ok(names)
}

/// Predicts and scores the samples with the network of one run.
fn predicted(run: &Path, name: String, samples: &[&Sample], device: DeviceChoice) -> Result<Compared> {
    let (network, config) = open_network(run, device)?;
    let decoding = config.evaluation.decoding();
    in_pool(config.run.threads, || {
        let scores = score(&network, samples, &config, None)?.table;
        let mut predictor = Predictor::new(&network)?;
        let maps = samples.iter().map(|sample| {
            let p = averaged_probabilities(&mut predictor, &sample.image, config.evaluation.views)?;
            Ok(instances(&quantised(&p), &decoding))
        });
        let predicted = maps.collect::<Result<_>>()?;
        let files = RunFolder::at(run);
        Ok(Compared { name, scores, predicted, log: Log::read(&files.log, &files.pseudo_labels, u64::MAX)? })
    })
}

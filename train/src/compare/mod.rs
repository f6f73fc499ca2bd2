//! `train compare`: trained networks side by side on the same labelled images, as numbers, curves and pictures.
//!
//! The figure is that of the ISBI 2022 paper (Fig. 2): image, truth, then each network, a row for an image.

mod figure;
mod page;

use std::path::{Path, PathBuf};

use support::{Context, Result, artifact, bail};

use crate::config::{DeviceChoice, choice};
use crate::data::image_file::png_of_rgb;
use crate::data::{Dataset, Sample, Split};
use crate::evaluate::command::{open, score};
use crate::evaluate::quantised;
use crate::evaluate::views::averaged_probabilities;
use crate::fit::{Files, in_pool};
use crate::log::Log;
use crate::metrics::ScoreTable;

/// Arguments of `train compare`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareArgs {
    /// Folder with images/ and labels/.
    pub data: PathBuf,
    /// Folders of runs, or checkpoints; differences are counted from the first one.
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Folder for the page, the pictures and the table.
    #[arg(short, long)]
    pub out: PathBuf,
    /// Names of the runs in page and table, in their order; by default their folders' names.
    #[arg(long, value_delimiter = ',')]
    pub names: Vec<String>,
    /// Only images of this split: train, val or test.
    #[arg(long, value_parser = choice::parse::<Split>)]
    pub split: Option<Split>,
    /// Only images of this modality.
    #[arg(long)]
    pub modality: Option<String>,
    /// Images on the page: the best, the middle and the worst of the last run, in equal shares. All are drawn into figures/.
    #[arg(long, default_value_t = 6)]
    pub images: usize,
    /// Where to run: auto, cpu or cuda.
    #[arg(long, default_value = "auto", value_parser = choice::parse::<DeviceChoice>)]
    pub device: DeviceChoice,
}

/// One network and what it made of the images.
struct Compared {
    name: String,
    scores: ScoreTable,
    /// Masks of nuclei, one for each sample.
    found: Vec<models::plane::Plane<u32>>,
    /// Empty for a checkpoint without its folder.
    log: Log,
}

/// Writes `compare.html`, `scores.csv` and `figures/ID.png`; what it returns goes to stdout.
pub fn run(arguments: &CompareArgs) -> Result<String> {
    let names = names(arguments)?;
    let (_, config) = open(&arguments.runs[0], arguments.device)?;
    let dataset = Dataset::load_labelled(&arguments.data, arguments.split, arguments.modality.as_deref(), &config.data)?;
    let samples: Vec<&Sample> = dataset.samples.iter().collect();
    let mut compared = Vec::new();
    for (run, name) in arguments.runs.iter().zip(names) {
        tracing::info!("{name}: {} images", samples.len());
        compared.push(one(run, name, &samples, arguments.device).doing(|| format!("running {}", run.display()))?);
    }
    let figures = arguments.out.join("figures");
    let order = figure::best_to_worst(&compared[compared.len() - 1].scores);
    let shown = figure::spread(&order, arguments.images);
    let mut pictures = vec![Vec::new(); samples.len()];
    for (i, sample) in samples.iter().enumerate() {
        pictures[i] = png_of_rgb(&figure::row(sample, compared.iter().map(|run| &run.found[i])))?;
        artifact::write(&figures.join(format!("{}.png", sample.id)), &pictures[i])?;
    }
    artifact::write(&arguments.out.join("scores.csv"), &page::scores_csv(&compared)?)?;
    let shown: Vec<(usize, &[u8])> = shown.into_iter().map(|i| (i, pictures[i].as_slice())).collect();
    let html = page::page(&arguments.data, &compared, &shown, config.run.seed)?;
    artifact::write(&arguments.out.join("compare.html"), html.as_bytes())?;
    Ok(page::text(&compared, config.run.seed))
}

/// A name for every run; no two are alike.
fn names(arguments: &CompareArgs) -> Result<Vec<String>> {
    let (given, runs) = (arguments.names.len(), arguments.runs.len());
    if given > 0 && given != runs {
        bail!("--names has {given} names for {runs} runs"; hint: "give one name for each run, in their order");
    }
    let of_path = |path: &PathBuf| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let own: Vec<String> = arguments.runs.iter().map(of_path).collect();
    let whole: Vec<String> = arguments.runs.iter().map(|path| path.display().to_string()).collect();
    let alike = |names: &[String]| names.iter().enumerate().any(|(i, name)| names[..i].contains(name));
    let names = match (given, alike(&own)) {
        (0, false) => own,
        (0, true) => whole,
        _ => arguments.names.clone(),
    };
    if alike(&names) {
        bail!("two of the runs have one name: {}", names.join(", "); hint: "name a run once, or tell them apart with --names a,b,...");
    }
    Ok(names)
}

fn one(run: &Path, name: String, samples: &[&Sample], device: DeviceChoice) -> Result<Compared> {
    let (network, config) = open(run, device)?;
    let decoding = config.evaluation.decoding();
    in_pool(config.run.threads, || {
        let scores = score(&network, samples, &config, None)?.table;
        let found = samples.iter().map(|sample| {
            let p = averaged_probabilities(&network, &sample.image, config.evaluation.views)?;
            Ok(models::decode::instances(&quantised(&p), &decoding))
        });
        let files = Files::of(run);
        Ok(Compared { name, scores, found: found.collect::<Result<_>>()?, log: Log::read(&files.log, &files.pseudo, u64::MAX)? })
    })
}

//! The whole way: checkpoint, passes, measurements on real tiles, file with its card and golden tiles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use infer::golden::{self, GoldenTile};
use infer::runtime;
use infer::segmenter::{self, Model, Network, Segmenter};
use models::card::{Class, FORMAT_VERSION, Form, Images, METADATA_KEY, ModelCard, Normalisation, Precision, Target};
use support::console::Progress;
use support::{Context, Result, artifact, bail};

use crate::about::About;
use crate::tiles::Site;
use crate::weights::{self, Checkpoint};
use crate::writer::{Arithmetic, Written};
use crate::{effective_reach, form, pass, tiles};

/// Tiles that a model carries with what must come of them.
const GOLDEN_TILES: usize = 2;
/// Tiles for ranges and for comparisons, half for each.
const SAMPLES: usize = 16;

/// What [`onnx`] is told besides the checkpoint.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the card says in place of what the run said.
    pub about: About,
    /// Images or folders of images to measure on; empty: the run's own, where they are still there.
    pub tiles: Vec<PathBuf>,
    /// Whether weights that are NaN or infinite are exported all the same.
    pub force: bool,
    /// What is going to run the model.
    pub target: Target,
    /// Arithmetic of its convolutions.
    pub precision: Precision,
    /// The share of pixels that may change side against the plain graph in f32.
    pub max_flipped: f64,
    /// Whether real tiles go into the file, with what must come of them.
    pub golden: bool,
    /// ONNX Runtime's library, if not where `infer` finds it.
    pub runtime: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            about: About::default(),
            tiles: Vec::new(),
            force: false,
            target: Target::Cpu,
            precision: Precision::F32,
            max_flipped: 0.01,
            golden: true,
            runtime: None,
        }
    }
}

/// What [`onnx`] wrote.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Size of the file.
    pub bytes: usize,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Number of ONNX nodes.
    pub nodes: usize,
    /// Number of weights, batch normalisation folded.
    pub parameters: usize,
    /// The card in the file.
    pub card: ModelCard,
    /// How many times as fast as the plain graph it is on this machine's CPU, where it was measured.
    pub speed: Option<f64>,
    /// Golden tiles in the file.
    pub golden_tiles: usize,
}

/// Writes the checkpoint as an ONNX file, atomically. The same inputs give the same bytes on one kind of processor; the weights on all.
///
/// Without ONNX Runtime or images the file is written all the same, with the exact halo as its default, and a warning says how to do better.
pub fn onnx(checkpoint: &Path, output: &Path, options: &Options, progress: &dyn Progress) -> Result<Summary> {
    let mut opened = Checkpoint::open(checkpoint, options.force)?;
    let parity_reference = opened.parity_reference.take();
    let mut card = card_of(&opened, options, &default_name(checkpoint))?;
    let files = tile_files(options, &card.training.config, checkpoint)?;
    let plain = pass::all((opened.graph, opened.weights), &card.normalisation);
    let run = segmenter::Options { spin: true, runtime: options.runtime.clone(), ..segmenter::Options::default() };
    let measured = can_measure(&files, options)?;
    let (mut speed, mut golden) = (None, Vec::new());
    let (model, arithmetic) = if measured {
        let mut segmenter = Segmenter::new(&sealed(&plain, &Arithmetic::F32, &card)?, &run)?;
        let core = effective_reach::core_px(card.stride);
        card.effective_reach = effective_reach::measure(&mut segmenter, &tiles::sites(&files, effective_reach::TILES, core)?, progress)?;
        golden = golden_tiles(&mut segmenter, &tiles::sites(&files, if options.golden { GOLDEN_TILES } else { 0 }, core)?, &card)?;
        let (calibration, comparison) = halves(tiles::sites(&files, SAMPLES, core)?);
        let ranges = form::ranges(&plain, options.precision, &calibration, &run)?;
        let (model, arithmetic) = form::lower(&plain, options.target, options.precision, ranges);
        let compared =
            form::against_plain(&mut segmenter, &sealed(&model, &arithmetic, &card)?, &comparison, parity_reference.as_ref(), &run)?;
        card.form.training_parity = compared.training;
        form::record(&mut card, options.target, options.precision, Some(compared.parity), options.max_flipped)?;
        speed = Some(compared.speed);
        (model, arithmetic)
    } else {
        form::record(&mut card, options.target, options.precision, None, options.max_flipped)?;
        form::lower(&plain, options.target, options.precision, BTreeMap::new())
    };
    let Written { bytes, nodes, parameters } = write(&model, &arithmetic, &card, &golden)?;
    Model::from_bytes(bytes.clone()).doing(|| "checking what was written")?;
    artifact::write(output, &bytes)?;
    let sha256 = artifact::sha256(&bytes);
    Ok(Summary { bytes: bytes.len(), sha256, nodes, parameters, card, speed, golden_tiles: golden.len() })
}

fn write(model: &pass::Model, arithmetic: &Arithmetic, card: &ModelCard, golden: &[GoldenTile]) -> Result<Written> {
    let mut metadata = BTreeMap::from([(METADATA_KEY.to_owned(), card.to_json())]);
    if !golden.is_empty() {
        metadata.insert(golden::METADATA_KEY.to_owned(), serde_json::to_string(golden)?);
    }
    crate::writer::write(&model.0, &model.1, arithmetic, &metadata)
}

/// A file to be run here and not kept.
fn sealed(model: &pass::Model, arithmetic: &Arithmetic, card: &ModelCard) -> Result<Model> {
    Model::from_bytes(write(model, arithmetic, card, &[])?.bytes).doing(|| "checking what was written")
}

fn golden_tiles(segmenter: &mut Segmenter, sites: &[Site], card: &ModelCard) -> Result<Vec<GoldenTile>> {
    let of = |site: &Site| {
        let (image, side) = (site.tile(0), site.side(0));
        GoldenTile::new(&image, &segmenter.quantised(&image, 1, side, side)?, [side, side], &card.decoding)
    };
    sites.iter().map(of).collect()
}

/// Every other site: what ranges were taken from does not judge them.
fn halves(sites: Vec<Site>) -> (Vec<Site>, Vec<Site>) {
    let (even, odd): (Vec<_>, Vec<_>) = sites.into_iter().enumerate().partition(|(i, _)| i % 2 == 0);
    let bare = |half: Vec<(usize, Site)>| half.into_iter().map(|(_, site)| site).collect();
    (bare(even), bare(odd))
}

/// The name of a model that nobody named: the checkpoint's file, or the folder of the run that left `best` or `last` there.
fn default_name(checkpoint: &Path) -> String {
    let path = std::path::absolute(checkpoint).unwrap_or_else(|_| checkpoint.to_owned());
    let file = path.file_stem();
    let run = path.parent().and_then(Path::file_name).filter(|_| file.is_some_and(|file| file == "best" || file == "last"));
    run.or(file).map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}

fn card_of(checkpoint: &Checkpoint, options: &Options, default_name: &str) -> Result<ModelCard> {
    let weights::About { name, microns_per_pixel, classes, decoding, licence, intended_use } = checkpoint.about.clone();
    let class = |name: &str, colour| Class { name: name.to_owned(), colour };
    let mut training = checkpoint.training.clone();
    training.config_sha256 = artifact::sha256(training.config.as_bytes());
    let mut card = ModelCard {
        format_version: FORMAT_VERSION,
        name: name.unwrap_or_else(|| default_name.to_owned()),
        version: None,
        classes: classes.unwrap_or_else(|| vec![class("background", [0, 0, 0]), class("nucleus", [220, 60, 40])]),
        microns_per_pixel,
        images: Images::default(),
        normalisation: Normalisation::IMAGENET,
        stride: checkpoint.graph.stride(),
        reach_px: checkpoint.graph.reach(),
        effective_reach: None,
        decoding: decoding.unwrap_or_default(),
        form: Form::default(),
        training,
        licence: licence.unwrap_or_else(|| "not stated".into()),
        intended_use: intended_use.unwrap_or_else(|| "Research on images like those it was trained on; not for diagnosis.".into()),
        limits: None,
        written_by: format!("export {}", env!("CARGO_PKG_VERSION")),
    };
    options.about.clone().apply(&mut card);
    if let Some(mpp) = card.microns_per_pixel.filter(|mpp| !(0.05..=5.0).contains(mpp)) {
        bail!("expected 0.05 to 5 microns per pixel, found {mpp}"; hint: "give the scale of the training images by --microns-per-pixel");
    }
    Ok(card)
}

/// The images to measure on: those that are named, else those of the run where they are still there.
fn tile_files(options: &Options, config: &str, checkpoint: &Path) -> Result<Vec<PathBuf>> {
    if !options.tiles.is_empty() {
        return tiles::find(&options.tiles);
    }
    let Some(folder) = data_folder(config) else {
        return Ok(Vec::new());
    };
    let beside = checkpoint.parent().map(|parent| parent.join(&folder));
    let there = [Some(folder.clone()), beside].into_iter().flatten().map(|folder| folder.join("images")).find(|images| images.is_dir());
    if let Some(images) = there {
        return tiles::find(&[images]);
    }
    tracing::warn!("the run's images in {} are gone", folder.display());
    Ok(Vec::new())
}

/// `[data] folder` of a run's configuration.
fn data_folder(config: &str) -> Option<PathBuf> {
    let table: toml::Table = config.parse().ok()?;
    Some(PathBuf::from(table.get("data")?.get("folder")?.as_str()?))
}

/// Whether there are images and ONNX Runtime; a form that cannot do without them is an error.
fn can_measure(files: &[PathBuf], options: &Options) -> Result<bool> {
    let missing = if files.is_empty() {
        Some(support::Error::new("no images are at hand").hint("name some by --tiles"))
    } else if options.runtime.is_none() {
        runtime::load(None).err()
    } else {
        None
    };
    match missing {
        None => Ok(true),
        Some(error) if options.precision == Precision::Int8 => Err(error).doing(|| "measuring the ranges that 8 bits need"),
        Some(error) => {
            tracing::warn!(
                "the effective reach is not measured, and the model carries no golden tiles: {error}; {}",
                error.hint_text().unwrap_or_default()
            );
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_s_checkpoints_are_named_by_its_folder() {
        let here = std::env::current_dir().unwrap();
        let here = here.file_name().unwrap().to_string_lossy();
        for (checkpoint, name) in
            [("runs/liver/best.safetensors", "liver"), ("/last.safetensors", "last"), ("runs/liver/unet.safetensors", "unet")]
        {
            assert_eq!(default_name(Path::new(checkpoint)), name, "{checkpoint}");
        }
        assert_eq!(default_name(Path::new("best.safetensors")), here);
    }
}

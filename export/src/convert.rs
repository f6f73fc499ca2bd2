//! The whole way: checkpoint, passes, file, effective reach, file with its card.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use infer::runtime;
use infer::segmenter::{self, Model, Segmenter};
use models::card::{Class, EffectiveReach, FORMAT_VERSION, METADATA_KEY, ModelCard, Normalisation};
use models::console::Progress;
use models::graph::Graph;
use models::weights::Weights;
use models::{Context, Result, artifact, bail};

use crate::onnx::Written;
use crate::weights::{About, Checkpoint};
use crate::{effective_reach, pass, tiles};

/// What [`onnx`] is told besides the checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The model's name, instead of the run's or the file's.
    pub name: Option<String>,
    /// The scale of the training images, instead of the run's.
    pub microns_per_pixel: Option<f64>,
    /// Images or folders of images to measure the effective reach on; empty: the run's own, where they are still there.
    pub tiles: Vec<PathBuf>,
    /// Whether weights that are NaN or infinite are exported all the same.
    pub force: bool,
    /// ONNX Runtime's library, if not where `infer` finds it.
    pub runtime: Option<PathBuf>,
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
    /// The theoretical reach in pixels.
    pub reach: usize,
    /// The measured one, if images and ONNX Runtime were at hand.
    pub effective_reach: Option<EffectiveReach>,
}

/// Writes the checkpoint as an ONNX file, atomically. The same inputs give the same bytes.
///
/// Without ONNX Runtime or images the file is written all the same, with the exact halo as its default, and a warning says how to do better.
pub fn onnx(checkpoint: &Path, output: &Path, options: &Options, progress: &dyn Progress) -> Result<Summary> {
    let opened = Checkpoint::open(checkpoint, options.force)?;
    let stem = checkpoint.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned());
    let mut card = card_of(&opened, options, &stem)?;
    let files = tile_files(options, &card.training.config, checkpoint)?;
    let (graph, weights) = pass::all((opened.graph, opened.weights), &card.normalisation);
    let mut written = write(&graph, &weights, &card)?;
    card.effective_reach = measure(&written, &files, options, progress)?;
    if card.effective_reach.is_some() {
        written = write(&graph, &weights, &card)?;
    }
    artifact::write(output, &written.bytes)?;
    let Written { bytes, nodes, parameters } = written;
    let sha256 = artifact::sha256(&bytes);
    Ok(Summary { bytes: bytes.len(), sha256, nodes, parameters, reach: card.reach_px, effective_reach: card.effective_reach })
}

fn write(graph: &Graph, weights: &Weights, card: &ModelCard) -> Result<Written> {
    let metadata = BTreeMap::from([(METADATA_KEY.to_owned(), card.to_json())]);
    crate::onnx::write(graph, weights, &metadata)
}

fn card_of(checkpoint: &Checkpoint, options: &Options, stem: &str) -> Result<ModelCard> {
    let About { name, microns_per_pixel, classes, decoding, licence, intended_use } = checkpoint.about.clone();
    let microns_per_pixel = options.microns_per_pixel.or(microns_per_pixel);
    if let Some(mpp) = microns_per_pixel.filter(|mpp| !(0.05..=5.0).contains(mpp)) {
        bail!("expected 0.05 to 5 microns per pixel, found {mpp}"; hint: "give the scale of the training images by --microns-per-pixel");
    }
    let class = |name: &str, colour| Class { name: name.to_owned(), colour };
    Ok(ModelCard {
        format_version: FORMAT_VERSION,
        name: options.name.clone().or(name).unwrap_or_else(|| stem.to_owned()),
        classes: classes.unwrap_or_else(|| vec![class("background", [0, 0, 0]), class("nucleus", [220, 60, 40])]),
        microns_per_pixel,
        normalisation: Normalisation::IMAGENET,
        stride: checkpoint.graph.stride(),
        reach_px: checkpoint.graph.reach(),
        effective_reach: None,
        decoding: decoding.unwrap_or_default(),
        training: checkpoint.training.clone(),
        licence: licence.unwrap_or_else(|| "not stated".into()),
        intended_use: intended_use.unwrap_or_else(|| "Research on images like those it was trained on; not for diagnosis.".into()),
        written_by: format!("export {}", env!("CARGO_PKG_VERSION")),
    })
}

/// The images to measure on: those that are named, else those of the run where they are still there.
fn tile_files(options: &Options, config: &str, checkpoint: &Path) -> Result<Vec<PathBuf>> {
    if !options.tiles.is_empty() {
        return tiles::find(&options.tiles);
    }
    let Some(folder) = data_folder(config) else {
        tracing::warn!("the checkpoint names no data folder: name images by --tiles to measure the effective reach");
        return Ok(Vec::new());
    };
    let beside = checkpoint.parent().map(|parent| parent.join(&folder));
    let there = [Some(folder.clone()), beside].into_iter().flatten().map(|folder| folder.join("images")).find(|images| images.is_dir());
    if let Some(images) = there {
        return tiles::find(&[images]);
    }
    tracing::warn!("the run's images in {} are gone: name others by --tiles to measure the effective reach", folder.display());
    Ok(Vec::new())
}

/// `[data] folder` of a run's configuration.
fn data_folder(config: &str) -> Option<PathBuf> {
    let table: toml::Table = config.parse().ok()?;
    Some(PathBuf::from(table.get("data")?.get("folder")?.as_str()?))
}

fn measure(written: &Written, files: &[PathBuf], options: &Options, progress: &dyn Progress) -> Result<Option<EffectiveReach>> {
    if files.is_empty() {
        return Ok(None);
    }
    if options.runtime.is_none()
        && let Err(error) = runtime::load(None)
    {
        tracing::warn!("the effective reach is not measured: {error}; {}", error.hint_text().unwrap_or_default());
        return Ok(None);
    }
    let model = Model::from_bytes(written.bytes.clone()).doing(|| "checking what was written")?;
    let sites = tiles::sites(files, effective_reach::TILES, effective_reach::core_px(model.card.stride))?;
    let run = segmenter::Options { spin: true, runtime: options.runtime.clone(), ..segmenter::Options::default() };
    effective_reach::measure(&mut Segmenter::new(&model, &run)?, &sites, progress)
}

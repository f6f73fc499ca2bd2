//! The whole conversion of a checkpoint: graph passes, measurements on real tiles, and the sealed ONNX file with its model card.
//!
//! | module | contents |
//! |---|---|
//! | `card` | the model card before any measurement |
//! | `measure` | images and sites to measure on, effective reach, golden tiles, choice of the form |

mod card;
mod measure;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use infer::model::Model;
use models::card::{METADATA_KEY, ModelCard, Precision, Target};
use onnx::golden::{self, GoldenTile};
use support::console::Progress;
use support::{Context, Result, durable};

use crate::about::About;
use crate::checkpoint::Checkpoint;
use crate::form;
use crate::pass;
use crate::tiles::TileImages;
use crate::writer::{Arithmetic, Written};

/// Options of [`onnx()`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Entries of the model card that replace those of the checkpoint.
    pub about: About,
    /// Images or folders of images to measure on; if empty, the training images of the run, if their folder still exists.
    pub tiles: Vec<PathBuf>,
    /// Exports weights that are NaN or infinite instead of refusing them.
    pub force: bool,
    /// Runtime that the file is written for; the file runs on the others too.
    pub target: Target,
    /// Arithmetic of the convolutions.
    pub precision: Precision,
    /// Largest allowed fraction of pixels that change between nucleus and background, relative to the plain graph in f32.
    pub max_flipped: f64,
    /// Stores golden tiles in the file.
    pub golden: bool,
    /// ONNX Runtime's library or its folder; `None` for the places that `infer` searches.
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

/// Result of [`onnx()`].
#[derive(Clone, Debug)]
pub struct Summary {
    /// Size of the file.
    pub bytes: usize,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Number of ONNX nodes.
    pub nodes: usize,
    /// Number of weights after batch normalisation is folded.
    pub parameters: usize,
    /// Model card in the file.
    pub card: ModelCard,
    /// Speed relative to the plain graph on this machine's CPU (above 1 is faster); `None` if nothing was measured.
    pub speed: Option<f64>,
    /// Number of golden tiles in the file.
    pub golden_tiles: usize,
}

/// The network in the form that ships, with the results of the measurements that are not part of the card.
struct ShippedForm {
    model: pass::Model,
    arithmetic: Arithmetic,
    golden: Vec<GoldenTile>,
    /// See [`Summary::speed`].
    speed: Option<f64>,
}

/// Writes the checkpoint as an ONNX file, atomically.
///
/// The same inputs give the same weights everywhere, and the same bytes on processors of one kind.
/// Without ONNX Runtime or without images the file is still written, with the exact halo as its default, and a warning says how to
/// measure the smaller one.
///
/// # Errors
/// A checkpoint that cannot be opened, a form that exceeds [`Options::max_flipped`], 8-bit arithmetic without images to calibrate on, or
/// an output that cannot be written. Nothing is written then.
pub fn onnx(checkpoint: &Path, output: &Path, options: &Options, progress: &dyn Progress) -> Result<Summary> {
    let inputs: Vec<&Path> = std::iter::once(checkpoint).chain(options.tiles.iter().map(PathBuf::as_path)).collect();
    durable::check_output(output, &inputs, |old| Model::open(old).is_ok())?;
    let mut opened = Checkpoint::open(checkpoint, options.force)?;
    let parity_reference = opened.parity_reference.take();
    let mut card = card::from_checkpoint(&opened, options, &card::default_name(checkpoint))?;
    let mut images = TileImages::new(measure::image_files(options, &opened.training.config, checkpoint)?);
    let plain = pass::all((opened.graph, opened.weights), &card.normalisation);
    let form = if measure::is_possible(&images, options)? {
        measure::choose_form(&plain, &mut card, &mut images, options, parity_reference.as_ref(), progress)?
    } else {
        unmeasured_form(&plain, &mut card, options)?
    };
    let Written { bytes, nodes, parameters } = encode(&form.model, &form.arithmetic, &card, &form.golden)?;
    Model::from_bytes(bytes.clone()).doing(|| "checking the encoded file")?;
    durable::write(output, &bytes)?;
    let sha256 = durable::sha256(&bytes);
    Ok(Summary { bytes: bytes.len(), sha256, nodes, parameters, card, speed: form.speed, golden_tiles: form.golden.len() })
}

/// Lowers the plain graph to the requested form without running it.
fn unmeasured_form(plain: &pass::Model, card: &mut ModelCard, options: &Options) -> Result<ShippedForm> {
    form::record(card, options.target, options.precision, None, options.max_flipped)?;
    let (model, arithmetic) = form::lower(plain, options.target, options.precision, BTreeMap::new());
    Ok(ShippedForm { model, arithmetic, golden: Vec::new(), speed: None })
}

/// Encodes and seals the ONNX file with its card and golden tiles as metadata.
fn encode(model: &pass::Model, arithmetic: &Arithmetic, card: &ModelCard, golden: &[GoldenTile]) -> Result<Written> {
    let mut metadata = BTreeMap::from([(METADATA_KEY.to_owned(), card.to_json())]);
    if !golden.is_empty() {
        metadata.insert(golden::METADATA_KEY.to_owned(), serde_json::to_string(golden)?);
    }
    crate::writer::write(&model.0, &model.1, arithmetic, &metadata)
}

/// Encodes a model that is run during export and then discarded.
fn temporary_model(model: &pass::Model, arithmetic: &Arithmetic, card: &ModelCard) -> Result<Model> {
    Model::from_bytes(encode(model, arithmetic, card, &[])?.bytes).doing(|| "checking the encoded file")
}

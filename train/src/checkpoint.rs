//! Checkpoints: safetensors files with the configuration in their metadata.
//!
//! `best.safetensors` holds the network. `last.safetensors` also holds the state from which training resumes to the same bits: projection
//! heads, optimiser, averaged predictions, progress of the run. Random numbers are counter-based, so no generator state is saved.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use models::card::{Class, Training};
use models::decode::Decoding;
use models::weights::{Array, Weights, WeightsFile, select};
use serde::{Deserialize, Serialize};
use support::{Context, Result, bail};

use crate::config::{DeviceChoice, Profile, RunConfig};
use crate::fitted_decoding::FittedDecoding;
use crate::network::kernels::Kernels;
use crate::network::{Network, device};
use crate::optimizer::Slot;
use crate::parity_reference;
use crate::step::Trainer;

/// Value of the metadata key `format`.
pub const FORMAT: &str = "nuclei-checkpoint-1";

/// Prefix of the names of averaged weights.
const AVERAGED_WEIGHTS: &str = "weight_average.";

/// Progress of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Number of optimiser steps done.
    pub iteration: u64,
    /// Training time in seconds over all sessions. `log.csv` keeps the time, because checkpoints hold nothing that differs between two
    /// runs of one configuration.
    #[serde(skip)]
    pub seconds: f64,
    /// Number of updates of the averaged predictions.
    pub updates: u32,
    /// Iteration after which the averaged predictions were last updated. An update that a stop interrupted is repeated on resume.
    pub averaged: u64,
    /// Iteration after which the last validation was done. A validation that a stop interrupted is repeated on resume.
    pub validated: u64,
    /// Validation score of the initial weights, if they were those of a whole network.
    pub start: Option<f64>,
    /// Best validation score so far, and its iteration.
    pub best: Option<(f64, u64)>,
    /// Decoding fitted by the last validation.
    pub fitted: Option<FittedDecoding>,
}

/// Facts about a model that an export needs besides the weights, `metadata["model"]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Scale of the training images.
    pub microns_per_pixel: Option<f64>,
    /// Classes with their RGB colours.
    pub classes: Vec<Class>,
    /// Decoding of probabilities into nuclei.
    pub decoding: Decoding,
}

impl ModelFacts {
    /// Collects the facts of a run; the decoding is that of its configuration.
    pub fn of(config: &RunConfig) -> Self {
        let class = |name: &str, colour| Class { name: name.into(), colour };
        Self {
            microns_per_pixel: config.data.microns_per_pixel,
            classes: vec![class("Background", [220, 220, 220]), class("Nucleus", [230, 60, 30])],
            decoding: config.evaluation.decoding(),
        }
    }
}

/// Makes a checkpoint of the network alone, with its parity reference. `decoding` is the decoding of slides, which are predicted in a
/// single view; `config` has the decoding of scores.
pub fn model_file(network: &Network, config: &RunConfig, decoding: Decoding, training: &Training) -> Result<WeightsFile> {
    let mut file = weights_file(network, config, training)?;
    let facts = ModelFacts { decoding, ..ModelFacts::of(config) };
    file.metadata.insert("model".into(), serde_json::to_string(&facts)?);
    file.arrays.extend(parity_reference::arrays(network)?);
    Ok(file)
}

fn weights_file(network: &Network, config: &RunConfig, training: &Training) -> Result<WeightsFile> {
    Ok(WeightsFile { arrays: network.weights()?, metadata: metadata(config, training)?, verified: true })
}

/// Makes a checkpoint from which training resumes; `averages` are the averaged predictions by image id.
pub fn resume_file(
    trainer: &Trainer,
    averages: &BTreeMap<String, Vec<f32>>,
    progress: &Progress,
    config: &RunConfig,
    training: &Training,
) -> Result<WeightsFile> {
    let mut file = weights_file(&trainer.network, config, training)?;
    if let Some(average) = &trainer.average {
        file.arrays.extend(average.network.weights()?.into_iter().map(|(name, array)| (format!("{AVERAGED_WEIGHTS}{name}"), array)));
    }
    file.metadata.insert("progress".into(), serde_json::to_string(progress)?);
    for head in &trainer.heads {
        file.arrays.extend(head.network.weights()?);
    }
    let mut steps = BTreeMap::new();
    for network in networks(trainer) {
        for name in network.learned() {
            if let Some(slot) = trainer.optimizer.slots.get(name) {
                file.arrays.insert(format!("optimizer.first.{name}"), network.export(name, &slot.first)?);
                file.arrays.insert(format!("optimizer.second.{name}"), network.export(name, &slot.second)?);
                steps.insert(name.to_owned(), slot.steps);
            }
        }
    }
    file.metadata.insert("optimizer_steps".into(), serde_json::to_string(&steps)?);
    for (id, average) in averages {
        file.arrays.insert(format!("average.{id}"), Array::new([average.len()], average.clone()));
    }
    Ok(file)
}

/// Restores the state of [`resume_file`] into `trainer` and `averages`, and returns the progress of the run.
///
/// # Errors
/// Another configuration than the run was started with, a checkpoint without training state, images whose number or size has changed.
pub fn resume(path: &Path, config: &RunConfig, trainer: &mut Trainer, averages: &mut BTreeMap<String, Vec<f32>>) -> Result<Progress> {
    let file = open(path)?;
    let written = config_of(&file).doing(|| format!("reading {}", path.display()))?;
    let differences = written.differences(config);
    if !differences.is_empty() {
        bail!("{}: the run was started with another configuration: {}", path.display(), differences.join("; "); hint: "resume with the run's own config.toml, or start a new run in another folder");
    }
    let doing = || format!("resuming from {}", path.display());
    let Some(progress) = file.metadata.get("progress") else {
        bail!("{}: holds a model, but not the state of its training", path.display(); hint: "training resumes from last.safetensors");
    };
    let progress: Progress = serde_json::from_str(progress).doing(doing)?;
    let steps: BTreeMap<String, u64> =
        serde_json::from_str(file.metadata.get("optimizer_steps").map_or("{}", String::as_str)).doing(doing)?;
    restore(&mut trainer.network, &file.arrays).doing(doing)?;
    for head in &mut trainer.heads {
        restore(&mut head.network, &file.arrays).doing(doing)?;
    }
    if let Some(average) = &mut trainer.average {
        let unprefixed = |(name, array): (&String, &Array)| Some((name.strip_prefix(AVERAGED_WEIGHTS)?.to_owned(), array.clone()));
        restore(&mut average.network, &file.arrays.iter().filter_map(unprefixed).collect()).doing(doing)?;
        average.steps = progress.iteration;
    }
    restore_optimizer(trainer, &file, steps, path)?;
    for (id, average) in averages.iter_mut() {
        match file.arrays.get(&format!("average.{id}")) {
            Some(array) if array.data.len() == average.len() => average.clone_from(&array.data),
            _ => {
                bail!("{}: no averaged prediction for image {id} at its present size", path.display(); hint: "the data folder has changed since the run was started")
            }
        }
    }
    Ok(progress)
}

/// Restores the moments and step counts of the optimiser, by parameter name.
fn restore_optimizer(trainer: &mut Trainer, file: &WeightsFile, steps: BTreeMap<String, u64>, path: &Path) -> Result<()> {
    for (name, steps) in steps {
        let network = networks(trainer).find(|network| network.learned().any(|learned| learned == name));
        let moment = |kind: &str| file.arrays.get(&format!("optimizer.{kind}.{name}"));
        let (Some(network), Some(first), Some(second)) = (network, moment("first"), moment("second")) else {
            bail!("{}: the optimiser state of {name} is not complete", path.display());
        };
        let slot = Slot { steps, first: network.import(&name, first)?, second: network.import(&name, second)? };
        trainer.optimizer.slots.insert(name, slot);
    }
    Ok(())
}

/// Opens a checkpoint of this program.
///
/// # Errors
/// A file that is damaged, lacks the digest of its contents, or has another format.
pub fn open(path: &Path) -> Result<WeightsFile> {
    let file = WeightsFile::read(path)?;
    match file.metadata.get("format").map(String::as_str) {
        Some(FORMAT) if file.verified => Ok(file),
        Some(FORMAT) => {
            bail!("{}: the checkpoint lacks the digest of its contents", path.display(); hint: "the file was edited or damaged: use another copy")
        }
        Some(other) => {
            bail!("{}: expected format {FORMAT:?}, found {other:?}", path.display(); hint: "the file was written by another version of this program")
        }
        None => {
            bail!("{}: not a checkpoint of this program (no format in its metadata)", path.display(); hint: "to start training from weights of other programs: --set run.init=FILE")
        }
    }
}

/// Reads the configuration in a checkpoint.
pub fn config_of(file: &WeightsFile) -> Result<RunConfig> {
    let text = file.metadata.get("config").map_or("", String::as_str);
    RunConfig::from_toml(text, Profile::Scratch, &[] as &[&str])
}

/// Opens the network of `run`, the folder of a run (its `best.safetensors`) or a checkpoint file, on a device.
pub fn open_network(run: &Path, device: DeviceChoice) -> Result<(Network, RunConfig)> {
    let path = if run.is_dir() { run.join("best.safetensors") } else { run.to_owned() };
    network(&path, &device::kernels(device)?).hint(|| "give the folder of a run, or a checkpoint that `train fit` wrote")
}

/// Opens the network of a checkpoint file, with the configuration of its run.
pub fn network(path: &Path, kernels: &Arc<dyn Kernels>) -> Result<(Network, RunConfig)> {
    let file = open(path)?;
    let config = config_of(&file).doing(|| format!("reading {}", path.display()))?;
    let network = Network::new(models::unet::unet(&config.network), &file.arrays, kernels.clone());
    Ok((network.doing(|| format!("reading {}", path.display()))?, config))
}

fn metadata(config: &RunConfig, training: &Training) -> Result<BTreeMap<String, String>> {
    let pairs = [
        ("format", FORMAT.to_owned()),
        ("config", config.to_toml()),
        ("unet", serde_json::to_string(&config.network)?),
        ("model", serde_json::to_string(&ModelFacts::of(config))?),
        ("training", serde_json::to_string(training)?),
    ];
    Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Iterates over all networks that the optimiser updates: the segmentation network and the projection heads.
fn networks(trainer: &Trainer) -> impl Iterator<Item = &Network> {
    std::iter::once(&trainer.network).chain(trainer.heads.iter().map(|head| &head.network))
}

/// Replaces all parameters of `network` by the arrays of their names.
fn restore(network: &mut Network, arrays: &Weights) -> Result<()> {
    for (name, array) in select(network.graph(), arrays)? {
        let value = network.import(&name, &array)?;
        network.set(&name, value);
    }
    Ok(())
}

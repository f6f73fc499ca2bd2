//! Checkpoints: safetensors with the configuration inside.
//!
//! `best.safetensors` holds what a model needs; `last.safetensors` also what training needs to go on to the same bits:
//! projection heads, optimiser, averaged predictions, place in the run. Everything random is counted, so there is no
//! generator to save.

use std::collections::BTreeMap;
use std::path::Path;

use models::card::{Class, Training};
use models::decode::Decoding;
use models::weights::{Array, Weights, WeightsFile};
use serde::{Deserialize, Serialize};
use support::{Context, Result, bail};

use crate::config::{Profile, RunConfig};
use crate::fit::Fitted;
use crate::network::Network;
use crate::optimizer::Slot;
use crate::parity_reference;
use crate::step::Trainer;

/// The value of the metadata key `format`.
pub const FORMAT: &str = "nuclei-checkpoint-1";

/// What the names of averaged weights begin with.
const AVERAGE: &str = "weight_average.";

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Steps done.
    pub iteration: u64,
    /// Seconds spent, over all sittings. They stand in `log.csv`: a checkpoint holds nothing that differs between two runs of one configuration.
    #[serde(skip)]
    pub seconds: f64,
    /// Updates of the averaged predictions.
    pub updates: u32,
    /// The iteration after which the averaged predictions were last updated; a run that is stopped during an update makes up for it.
    pub averaged: u64,
    /// The iteration after which the last validation was done; a run that is stopped during one makes up for it.
    pub validated: u64,
    /// Validation score of the weights that the run started from, if they were a whole network's.
    pub start: Option<f64>,
    /// Best validation score so far and the iteration it was reached in.
    pub best: Option<(f64, u64)>,
    /// The decoding that was last fitted.
    pub fitted: Option<Fitted>,
}

/// What an export may want to know beyond the weights; `metadata["model"]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// The images' scale.
    pub microns_per_pixel: Option<f64>,
    /// Classes and their colours.
    pub classes: Vec<Class>,
    /// How probabilities become nuclei.
    pub decoding: Decoding,
}

impl ModelFacts {
    /// The facts of a run.
    pub fn of(config: &RunConfig) -> Self {
        let class = |name: &str, colour| Class { name: name.into(), colour };
        Self {
            microns_per_pixel: config.data.microns_per_pixel,
            classes: vec![class("Background", [220, 220, 220]), class("Nucleus", [230, 60, 30])],
            decoding: config.evaluation.decoding(),
        }
    }
}

/// A file that holds the network alone, and what it says of one image. `decoding` is that of slides, where one view is all there is;
/// the configuration has that of evaluation.
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

/// A file from which training goes on; `averages` are the averaged predictions by image id.
pub fn resume_file(
    trainer: &Trainer,
    averages: &BTreeMap<String, Vec<f32>>,
    progress: &Progress,
    config: &RunConfig,
    training: &Training,
) -> Result<WeightsFile> {
    let mut file = weights_file(&trainer.network, config, training)?;
    if let Some(average) = &trainer.average {
        file.arrays.extend(average.network.weights()?.into_iter().map(|(name, array)| (format!("{AVERAGE}{name}"), array)));
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

/// What [`resume_file`] wrote, put back; the configuration must be the one it was written with.
pub fn resume(path: &Path, config: &RunConfig, trainer: &mut Trainer, averages: &mut BTreeMap<String, Vec<f32>>) -> Result<Progress> {
    let file = open(path)?;
    let written = config_of(&file).doing(|| format!("reading {}", path.display()))?;
    let differences = written.differences(config);
    if !differences.is_empty() {
        bail!("{}: the run was started with another configuration: {}", path.display(), differences.join("; "); hint: "resume with the run's own config.toml, or start a new run in another folder");
    }
    let doing = || format!("resuming from {}", path.display());
    let Some(progress) = file.metadata.get("progress") else {
        bail!("{}: holds a model, but not the state of its training", path.display(); hint: "training goes on from last.safetensors");
    };
    let progress: Progress = serde_json::from_str(progress).doing(doing)?;
    let steps: BTreeMap<String, u64> =
        serde_json::from_str(file.metadata.get("optimizer_steps").map_or("{}", String::as_str)).doing(doing)?;
    restore(&mut trainer.network, &file.arrays).doing(doing)?;
    for head in &mut trainer.heads {
        restore(&mut head.network, &file.arrays).doing(doing)?;
    }
    if let Some(average) = &mut trainer.average {
        let own = |(name, array): (&String, &Array)| Some((name.strip_prefix(AVERAGE)?.to_owned(), array.clone()));
        restore(&mut average.network, &file.arrays.iter().filter_map(own).collect()).doing(doing)?;
        average.steps = progress.iteration;
    }
    for (name, steps) in steps {
        let network = networks(trainer).find(|network| network.learned().any(|learned| learned == name));
        let moment = |kind: &str| file.arrays.get(&format!("optimizer.{kind}.{name}"));
        let (Some(network), Some(first), Some(second)) = (network, moment("first"), moment("second")) else {
            bail!("{}: the optimiser's state of {name} is not complete", path.display());
        };
        let slot = Slot { steps, first: network.import(&name, first)?, second: network.import(&name, second)? };
        trainer.optimizer.slots.insert(name, slot);
    }
    for (id, average) in averages.iter_mut() {
        match file.arrays.get(&format!("average.{id}")) {
            Some(array) if array.data.len() == average.len() => average.clone_from(&array.data),
            _ => {
                bail!("{}: has no averaged prediction for image {id} at its present size", path.display(); hint: "the data folder changed since the run began")
            }
        }
    }
    Ok(progress)
}

/// Opens a checkpoint of this project; a file that carries no digest of itself is none.
pub fn open(path: &Path) -> Result<WeightsFile> {
    let file = WeightsFile::read(path)?;
    match file.metadata.get("format").map(String::as_str) {
        Some(FORMAT) if file.verified => Ok(file),
        Some(FORMAT) => {
            bail!("{}: the checkpoint has lost the digest of its contents", path.display(); hint: "it was edited or damaged: use another copy")
        }
        Some(other) => {
            bail!("{}: expected format {FORMAT:?}, found {other:?}", path.display(); hint: "it was written by another version of this program")
        }
        None => {
            bail!("{}: not a checkpoint of this program (no format in its metadata)", path.display(); hint: "weights of other programs can be a start: --set run.init=FILE")
        }
    }
}

/// The configuration inside a checkpoint.
pub fn config_of(file: &WeightsFile) -> Result<RunConfig> {
    let text = file.metadata.get("config").map_or("", String::as_str);
    RunConfig::from_toml(text, Profile::Scratch, &[] as &[&str])
}

/// The network of a checkpoint.
pub fn network(path: &Path, kernels: &std::sync::Arc<dyn crate::network::kernels::Kernels>) -> Result<(Network, RunConfig)> {
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

fn networks(trainer: &Trainer) -> impl Iterator<Item = &Network> {
    std::iter::once(&trainer.network).chain(trainer.heads.iter().map(|head| &head.network))
}

fn restore(network: &mut Network, arrays: &Weights) -> Result<()> {
    for (name, array) in models::weights::select(network.graph(), arrays)? {
        let value = network.import(&name, &array)?;
        network.set(&name, value);
    }
    Ok(())
}

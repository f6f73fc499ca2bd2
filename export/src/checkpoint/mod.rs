//! Checkpoints: the network, its weights, and the facts about the training that belong on the model card.

mod architecture;

use std::path::Path;

use models::card::{Class, Training};
use models::decode::Decoding;
use models::graph::Graph;
use models::unet::{UNetConfig, unet};
use models::weights::{Weights, WeightsFile, select};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use support::{Context, Result, bail, durable};

/// Value of the metadata key `format` in this project's own checkpoints.
pub const FORMAT: &str = "nuclei-checkpoint-1";

/// A network with its weights and training summary.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The network; its output is logits of two classes.
    pub graph: Graph,
    /// Exactly the parameters that the graph needs.
    pub weights: Weights,
    /// Training summary; empty for checkpoints of other programs.
    pub training: Training,
    /// Entries of the model card that the run's configuration sets.
    pub info: ModelInfo,
    /// Probabilities of the training program for one image, to compare the exported network with.
    pub parity_reference: Option<ParityReference>,
}

/// An image, `H W 3`, and the probabilities that the training program computed for it; stored as the arrays `witness.image` and
/// `witness.probability` of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct ParityReference {
    /// `height * width * 3` bytes, RGB.
    pub image: Vec<u8>,
    /// `height * width` probabilities.
    pub probability: Vec<f32>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ParityReference {
    /// Returns `None` if an array is missing or the two shapes do not fit.
    fn from_arrays(arrays: &Weights) -> Option<Self> {
        let (image, probability) = (arrays.get("witness.image")?, arrays.get("witness.probability")?);
        let &[height, width] = probability.shape.as_slice() else { return None };
        let bytes = image.data.iter().map(|&v| v.clamp(0.0, 255.0) as u8).collect();
        (image.shape == [height, width, 3]).then(|| Self { image: bytes, probability: probability.data.clone(), height, width })
    }
}

/// Entries of the model card that the run's configuration sets, all optional: the metadata key `model` of a checkpoint, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelInfo {
    /// Name of the model.
    pub name: Option<String>,
    /// Scale of the training images.
    pub microns_per_pixel: Option<f64>,
    /// Names and colours of the classes.
    pub classes: Option<Vec<Class>>,
    /// Conversion of probabilities into nuclei.
    pub decoding: Option<Decoding>,
    /// Licence of the weights.
    pub licence: Option<String>,
    /// Purposes that the model is meant for, and those it is not.
    pub intended_use: Option<String>,
}

impl Checkpoint {
    /// Reads a checkpoint of this project, or a state dict of `segmentation_models.pytorch` saved as safetensors.
    ///
    /// # Errors
    /// See [`Checkpoint::from_file`]; every error names the file.
    pub fn open(path: &Path, force: bool) -> Result<Self> {
        let file = WeightsFile::read(path)?;
        let doing = || format!("opening the checkpoint {}", path.display());
        let mut checkpoint = Self::from_file(file, force).doing(doing)?;
        checkpoint.training.checkpoint_sha256 = durable::sha256_of_file(path)?;
        Ok(checkpoint)
    }

    /// Builds the network of a parsed file and takes its weights; the architecture comes from the metadata key `unet` or, without it, from
    /// the shapes of the arrays.
    ///
    /// # Errors
    /// Another checkpoint format, an own checkpoint without a digest of its contents, an implausible network, missing weights or other
    /// shapes (all of them in one error), and, unless `force` is set, weights that are NaN or infinite.
    pub fn from_file(file: WeightsFile, force: bool) -> Result<Self> {
        check_format(&file)?;
        let mut training: Training = json(&file, "training")?.unwrap_or_default();
        if let Some(config) = file.metadata.get("config") {
            training.config.clone_from(config);
        }
        let info = json(&file, "model")?.unwrap_or_default();
        let given: Option<UNetConfig> = json(&file, "unet")?;
        let parity_reference = ParityReference::from_arrays(&file.arrays);
        let mut weights = file.arrays;
        let config = match given {
            Some(config) => config,
            None => architecture::from_shapes(&weights)?,
        };
        let config = architecture::one_logit_to_two(config, &mut weights);
        architecture::check(&config)?;
        let graph = unet(&config).only_output();
        let weights = select(&graph, &weights)
            .hint(|| "a U-Net with a ResNet-34 or MobileNetV2 encoder, without attention, is expected; names are those of segmentation_models.pytorch")?;
        if !force {
            check_finite(&weights)?;
        }
        Ok(Self { graph, weights, training, info, parity_reference })
    }
}

fn check_format(file: &WeightsFile) -> Result<()> {
    match file.metadata.get("format").map(String::as_str) {
        Some(FORMAT) if !file.verified => {
            bail!("the file carries no sha256 of its contents, which every checkpoint of this project does"; hint: "it was rewritten by another program: use the file as training wrote it")
        }
        Some(FORMAT | "pt") | None => Ok(()),
        Some(other) => {
            bail!("expected the format {FORMAT:?}, found {other:?}"; hint: "use the version of the program that wrote the checkpoint")
        }
    }
}

/// Parses a metadata entry; `None` if the file does not have it.
fn json<T: DeserializeOwned>(file: &WeightsFile, key: &str) -> Result<Option<T>> {
    let parse = |text: &String| serde_json::from_str(text).doing(|| format!("parsing the metadata {key:?}"));
    file.metadata.get(key).map(parse).transpose()
}

fn check_finite(weights: &Weights) -> Result<()> {
    let faults: Vec<String> = weights
        .iter()
        .filter_map(|(name, array)| {
            let count = array.data.iter().filter(|v| !v.is_finite()).count();
            (count > 0).then(|| format!("{name}: {count} of {}", array.data.len()))
        })
        .collect();
    if !faults.is_empty() {
        bail!("weights are NaN or infinite:\n  {}", faults.join("\n  "); hint: "training diverged: take an earlier checkpoint (`--force` exports it all the same)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use models::graph::Parameter;
    use models::weights::Array;

    use super::*;

    fn tiny() -> UNetConfig {
        UNetConfig { encoder_width: 2, decoder_channels: [3, 4, 5, 6, 7], head_kernel: 3, ..UNetConfig::default() }
    }

    fn zeros(config: &UNetConfig) -> Weights {
        let zeros = |p: Parameter| (p.name.clone(), Array::new(p.shape.clone(), vec![0.0; p.count()]));
        unet(config).parameters().into_iter().map(zeros).collect()
    }

    fn file(arrays: Weights, metadata: &[(&str, &str)]) -> WeightsFile {
        let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        WeightsFile { arrays, metadata, verified: false }
    }

    #[test]
    fn the_shapes_of_a_state_dict_determine_the_network() {
        let mut arrays = zeros(&tiny());
        arrays.insert("projection.r1.0.weight".into(), Array::new([1], vec![f32::NAN]));
        let checkpoint = Checkpoint::from_file(file(arrays, &[]), false).unwrap();
        assert_eq!(checkpoint.graph, unet(&tiny()).only_output());
        assert!(!checkpoint.weights.contains_key("projection.r1.0.weight"));
    }

    #[test]
    fn one_logit_becomes_two() {
        let mut arrays = zeros(&UNetConfig { classes: 1, ..tiny() });
        arrays.get_mut("segmentation_head.0.bias").unwrap().data[0] = 5.0;
        let checkpoint = Checkpoint::from_file(file(arrays, &[]), false).unwrap();
        assert_eq!(checkpoint.weights["segmentation_head.0.bias"].data, [0.0, 5.0]);
        assert_eq!(checkpoint.weights["segmentation_head.0.weight"].shape, [2, 7, 3, 3]);
    }

    #[test]
    fn one_error_lists_every_mismatch() {
        let mut arrays = zeros(&tiny());
        arrays.remove("encoder.bn1.running_var");
        arrays.insert("encoder.layer1.0.conv1.weight".into(), Array::new([1], vec![0.0]));
        let error = Checkpoint::from_file(file(arrays, &[]), false).unwrap_err().to_string();
        assert!(error.contains("encoder.bn1.running_var: missing"), "{error}");
        assert!(error.contains("encoder.layer1.0.conv1.weight: expected shape [2, 2, 3, 3], found [1]"), "{error}");
    }

    #[test]
    fn non_finite_weights_are_refused_unless_forced() {
        let mut arrays = zeros(&tiny());
        arrays.get_mut("encoder.bn1.weight").unwrap().data[1] = f32::INFINITY;
        let error = Checkpoint::from_file(file(arrays.clone(), &[]), false).unwrap_err().to_string();
        assert!(error.contains("encoder.bn1.weight: 1 of 2"), "{error}");
        Checkpoint::from_file(file(arrays, &[]), true).unwrap();
    }

    #[test]
    fn own_checkpoints_need_a_digest_and_a_known_format() {
        let open = |metadata: &[(&str, &str)]| Checkpoint::from_file(file(zeros(&tiny()), metadata), false).unwrap_err().to_string();
        assert!(open(&[("format", FORMAT)]).contains("no sha256"));
        assert!(open(&[("format", "nuclei-checkpoint-9")]).contains("nuclei-checkpoint-9"));
        assert!(open(&[("unet", "{\"depth\": 9}")]).contains("\"unet\""));
    }
}

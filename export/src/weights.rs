//! Opens a checkpoint: the network it is for, its weights, and what is known about their training.

use std::path::Path;

use models::card::{Class, Training};
use models::decode::Decoding;
use models::graph::Graph;
use models::unet::{Encoder, UNetConfig, unet};
use models::weights::{Array, Weights, WeightsFile, select};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use support::{Context, Error, Result, artifact, bail};

/// The value of the metadata key `format` of this project's own checkpoints.
pub const FORMAT: &str = "nuclei-checkpoint-1";

/// A network with its weights, and what the checkpoint says about it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The network; its output is logits of two classes.
    pub graph: Graph,
    /// What the graph needs, nothing else.
    pub weights: Weights,
    /// How the weights were trained; default for checkpoints of other programs.
    pub training: Training,
    /// What the run says about the model.
    pub about: About,
    /// What the trained network says of an image.
    pub parity_reference: Option<ParityReference>,
}

/// An image, `H W 3`, and the probabilities that the program which trained the network computed for it; the arrays `witness.image` and
/// `witness.probability` of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct ParityReference {
    /// `height * width * 3` bytes.
    pub image: Vec<u8>,
    /// `height * width` probabilities.
    pub probability: Vec<f32>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ParityReference {
    /// `None` where a checkpoint has none, or not of this shape.
    fn of(arrays: &Weights) -> Option<Self> {
        let (image, probability) = (arrays.get("witness.image")?, arrays.get("witness.probability")?);
        let &[height, width] = probability.shape.as_slice() else { return None };
        let bytes = image.data.iter().map(|&v| v.clamp(0.0, 255.0) as u8).collect();
        (image.shape == [height, width, 3]).then(|| Self { image: bytes, probability: probability.data.clone(), height, width })
    }
}

/// What a run says about the model it trains; the metadata key `model`, as JSON. Everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct About {
    /// The model's name.
    pub name: Option<String>,
    /// The scale of the training images.
    pub microns_per_pixel: Option<f64>,
    /// Names and colours of the classes.
    pub classes: Option<Vec<Class>>,
    /// How probabilities become nuclei.
    pub decoding: Option<Decoding>,
    /// The licence of the weights.
    pub licence: Option<String>,
    /// What the model is for, and what not.
    pub intended_use: Option<String>,
}

impl Checkpoint {
    /// Reads a checkpoint of this project or a state dict of `segmentation_models.pytorch`, as safetensors; every error names the file.
    pub fn open(path: &Path, force: bool) -> Result<Self> {
        let file = WeightsFile::read(path)?;
        let doing = || format!("opening the checkpoint {}", path.display());
        let mut checkpoint = Self::from_file(file, force).doing(doing)?;
        checkpoint.training.checkpoint_sha256 = artifact::sha256_of_file(path)?;
        Ok(checkpoint)
    }

    /// The same of a file held in memory. NaN and infinite weights are refused unless `force`.
    pub fn from_file(file: WeightsFile, force: bool) -> Result<Self> {
        check_format(&file)?;
        let mut training: Training = json(&file, "training")?.unwrap_or_default();
        if let Some(config) = file.metadata.get("config") {
            training.config.clone_from(config);
        }
        let about = json(&file, "model")?.unwrap_or_default();
        let given: Option<UNetConfig> = json(&file, "unet")?;
        let parity_reference = ParityReference::of(&file.arrays);
        let mut weights = file.arrays;
        let config = match given {
            Some(config) => config,
            None => infer_config(&weights)?,
        };
        let config = one_logit_to_two(config, &mut weights);
        check_config(&config)?;
        let graph = unet(&config).only_output();
        let weights = select(&graph, &weights)
            .hint(|| "a U-Net with a ResNet-34 or MobileNetV2 encoder, without attention, is expected; names are those of segmentation_models.pytorch")?;
        if !force {
            check_finite(&weights)?;
        }
        Ok(Self { graph, weights, training, about, parity_reference })
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

fn json<T: DeserializeOwned>(file: &WeightsFile, key: &str) -> Result<Option<T>> {
    let parse = |text: &String| serde_json::from_str(text).doing(|| format!("parsing the metadata {key:?}"));
    file.metadata.get(key).map(parse).transpose()
}

/// Reads the network's shape off the shapes of a state dict.
fn infer_config(weights: &Weights) -> Result<UNetConfig> {
    let extent = |name: String, axis: usize| match weights.get(&name).map(|array| array.shape.as_slice()) {
        Some(shape) if shape.len() == 4 => Ok(shape[axis]),
        Some(shape) => Err(Error::new(format!("{name}: expected four extents, found {shape:?}"))),
        None => Err(Error::new(format!("{name}: missing, and the file does not say which network it is for"))
            .hint("a safetensors file of a segmentation_models.pytorch U-Net with the encoder resnet34 or mobilenet_v2 is expected")),
    };
    // The channels of the first convolution of a published encoder.
    let (encoder, first) =
        if weights.contains_key(Encoder::MobileNetV2.first_parameter()) { (Encoder::MobileNetV2, 32) } else { (Encoder::ResNet34, 64) };
    let mut config = UNetConfig {
        encoder,
        encoder_width: extent(encoder.first_parameter().into(), 0)? * 64 / first,
        classes: extent("segmentation_head.0.weight".into(), 0)?,
        head_kernel: extent("segmentation_head.0.weight".into(), 2)?,
        ..UNetConfig::default()
    };
    for (i, channels) in config.decoder_channels.iter_mut().enumerate() {
        *channels = extent(format!("decoder.blocks.{i}.conv1.0.weight"), 0)?;
    }
    Ok(config)
}

/// A network with one logit z has the probability sigmoid(z): that of two logits 0 and z.
fn one_logit_to_two(mut config: UNetConfig, weights: &mut Weights) -> UNetConfig {
    if config.classes == 1 {
        config.classes = 2;
        for suffix in ["weight", "bias"] {
            if let Some(Array { shape, data }) = weights.get_mut(&format!("segmentation_head.0.{suffix}"))
                && shape.first() == Some(&1)
            {
                shape[0] = 2;
                data.splice(0..0, vec![0.0; data.len()]);
            }
        }
    }
    config
}

fn check_config(config: &UNetConfig) -> Result<()> {
    let UNetConfig { encoder: _, encoder_width, decoder_channels, classes, head_kernel } = config;
    let plausible = |n: &usize| (1..=4096).contains(n);
    if !plausible(encoder_width) || !decoder_channels.iter().all(plausible) || head_kernel % 2 == 0 || *head_kernel > 15 {
        bail!("the network's shape is not plausible: {config:?}");
    }
    if *classes != 2 {
        bail!("the network tells {classes} classes apart, expected 2: background and nucleus");
    }
    Ok(())
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
    fn a_plain_state_dict_tells_its_network() {
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
    fn every_mismatch_stands_in_one_error() {
        let mut arrays = zeros(&tiny());
        arrays.remove("encoder.bn1.running_var");
        arrays.insert("encoder.layer1.0.conv1.weight".into(), Array::new([1], vec![0.0]));
        let error = Checkpoint::from_file(file(arrays, &[]), false).unwrap_err().to_string();
        assert!(error.contains("encoder.bn1.running_var: missing"), "{error}");
        assert!(error.contains("encoder.layer1.0.conv1.weight: expected shape [2, 2, 3, 3], found [1]"), "{error}");
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused_unless_forced() {
        let mut arrays = zeros(&tiny());
        arrays.get_mut("encoder.bn1.weight").unwrap().data[1] = f32::INFINITY;
        let error = Checkpoint::from_file(file(arrays.clone(), &[]), false).unwrap_err().to_string();
        assert!(error.contains("encoder.bn1.weight: 1 of 2"), "{error}");
        Checkpoint::from_file(file(arrays, &[]), true).unwrap();
    }

    #[test]
    fn own_checkpoints_need_their_digest_and_their_format() {
        let open = |metadata: &[(&str, &str)]| Checkpoint::from_file(file(zeros(&tiny()), metadata), false).unwrap_err().to_string();
        assert!(open(&[("format", FORMAT)]).contains("no sha256"));
        assert!(open(&[("format", "nuclei-checkpoint-9")]).contains("nuclei-checkpoint-9"));
        assert!(open(&[("unet", "{\"depth\": 9}")]).contains("\"unet\""));
    }
}

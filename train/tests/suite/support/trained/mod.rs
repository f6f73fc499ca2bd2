//! Small network trained for a few seconds, and the deviation of bf16 gradients from f32 gradients.
//!
//! A network of random weights amplifies rounding from layer to layer. A trained network does not, and it is the relevant case for runs
//! in bf16.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use models::card::Normalisation;
use models::unet::{UNetConfig, unet};
use models::weights::Weights;
use train::augment::normalise;
use train::config::{Method, Profile, RunConfig};
use train::loss::cross_entropy;
use train::network::kernels::{Cpu, Kernels};
use train::network::{Mode, Network};
use train::rng::CounterRng;
use train::step::{Batch, Stage, Trainer, stack_images};

use super::pictures;

/// Side of the pictures, in pixels.
pub const SIDE: usize = 64;
/// Number of training steps before the comparison.
pub const STEPS: u64 = 120;

/// Draws a batch of pictures `B 3 H W`; returns it with its labels `B H W`: 1 at pixels of discs, 0 elsewhere.
pub fn batch(first: u64, images: u64) -> (Tensor, Vec<u8>) {
    let pictures: Vec<_> = (first..first + images).map(|seed| pictures::picture(SIDE, seed)).collect();
    let planes: Vec<Vec<f32>> = pictures.iter().map(|(image, _)| normalise(image, &Normalisation::IMAGENET)).collect();
    let labels = pictures.iter().flat_map(|(_, labels)| labels.data.iter().map(|&id| u8::from(id > 0))).collect();
    (stack_images(&planes, SIDE).unwrap(), labels)
}

/// Returns the configuration: an encoder of half the default width, in which every convolution is still wide enough for bf16 kernels.
pub fn config() -> RunConfig {
    let network = UNetConfig { encoder_width: 32, decoder_channels: [64, 32, 32, 16, 16], ..UNetConfig::default() };
    let mut config = RunConfig { network, ..Profile::Scratch.config() };
    config.method.name = Method::Pce;
    config
}

/// Trains for `steps` steps in f32 with batch 4; returns the weights and the last value of the loss.
pub fn trained(steps: u64) -> (Weights, f64) {
    let kernels: Arc<dyn Kernels> = Arc::new(Cpu::default());
    let (mut trainer, _) = Trainer::new(&config(), &Weights::new(), &kernels).unwrap();
    let mut loss = f64::NAN;
    for step in 0..steps {
        let (image, scribble) = batch(1000 + 4 * step, 4);
        let batch = Batch { image, scribble, average: Vec::new(), updates: 0 };
        loss = trainer.step(&batch, Stage::WarmUp, 1.0, &mut CounterRng::new(0, "test", 0, step, 0)).unwrap().total;
    }
    (trainer.network.weights().unwrap(), loss)
}

/// Logits, and gradients of the cross-entropy with respect to every learned parameter.
pub struct PassResult {
    pub logits: Vec<f32>,
    pub gradients: BTreeMap<String, Vec<f32>>,
}

/// Runs one forward and one backward pass.
pub fn gradients(
    kernels: &Arc<dyn Kernels>,
    unet_config: &UNetConfig,
    weights: &Weights,
    image: &Tensor,
    labels: &[u8],
    mode: Mode,
) -> PassResult {
    let network = Network::new(unet(unet_config), weights, kernels.clone()).unwrap();
    let (b, _, h, w) = image.dims4().unwrap();
    let tape = network.forward(image, mode).unwrap();
    let logits = network.output(&tape).unwrap().to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    let labels = Tensor::from_slice(labels, (b, h, w), &Device::Cpu).unwrap();
    let gradient = cross_entropy(&logits, &labels).unwrap().gradient.to_device(network.device()).unwrap();
    let found = network.backward(&tape, Some(&gradient), &[], false).unwrap();
    let gradients = network.learned().map(|name| (name.to_owned(), network.export(name, &found.parameters[name]).unwrap().data)).collect();
    PassResult { logits: logits.flatten_all().unwrap().to_vec1().unwrap(), gradients }
}

/// Deviation of one result from another, in L2 norms.
#[derive(Debug)]
pub struct Deviation {
    /// Relative deviation of the logits.
    pub logits: f64,
    /// Relative deviation of all gradients as one vector.
    pub all: f64,
    /// Cosine of the angle between the two vectors of all gradients.
    pub cosine: f64,
    /// Ratio of the lengths of the two vectors of all gradients.
    pub norm: f64,
    /// Median of the relative deviations of parameters.
    pub median: f64,
    /// Largest relative deviation of a parameter, with its name.
    pub worst: (f64, String),
}

/// Computes the deviation of `found` from `exact`.
pub fn deviation(found: &PassResult, exact: &PassResult) -> Deviation {
    let mut each: Vec<(f64, String)> =
        exact.gradients.iter().map(|(name, exact)| (relative(&found.gradients[name], exact), name.clone())).collect();
    each.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = |found: &PassResult| found.gradients.values().flatten().copied().collect::<Vec<f32>>();
    let (found_all, exact_all) = (all(found), all(exact));
    let norms = [norm(found_all.iter().map(|v| f64::from(*v))), norm(exact_all.iter().map(|v| f64::from(*v)))];
    let dot: f64 = found_all.iter().zip(&exact_all).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    Deviation {
        logits: relative(&found.logits, &exact.logits),
        all: relative(&found_all, &exact_all),
        cosine: dot / (norms[0] * norms[1]),
        norm: norms[0] / norms[1],
        median: each[each.len() / 2].0,
        worst: each.pop().unwrap(),
    }
}

fn relative(found: &[f32], exact: &[f32]) -> f64 {
    assert_eq!(found.len(), exact.len());
    let off = norm(found.iter().zip(exact).map(|(f, e)| f64::from(*f) - f64::from(*e)));
    off / norm(exact.iter().map(|e| f64::from(*e))).max(1e-30)
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

//! A small network trained here for a moment, and how far gradients in bf16 are from those in f32.
//!
//! In a network of random weights rounding is amplified from layer to layer; in a trained one it is not, and that is what runs in
//! bf16 are about.

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

/// Side of the pictures.
pub const SIDE: usize = 64;
/// Steps after which the network is tried.
pub const STEPS: u64 = 120;

/// Drawn pictures as a batch `B 3 H W`, and 1 at pixels of their discs, 0 elsewhere.
pub fn batch(first: u64, images: u64) -> (Tensor, Vec<u8>) {
    let pictures: Vec<_> = (first..first + images).map(|seed| pictures::picture(SIDE, seed)).collect();
    let planes: Vec<Vec<f32>> = pictures.iter().map(|(image, _)| normalise(image, &Normalisation::IMAGENET)).collect();
    let labels = pictures.iter().flat_map(|(_, labels)| labels.data.iter().map(|&id| u8::from(id > 0))).collect();
    (stack_images(&planes, SIDE).unwrap(), labels)
}

/// What is trained: half as wide as the usual encoder, every convolution still wide enough for bf16.
pub fn config() -> RunConfig {
    let network = UNetConfig { encoder_width: 32, decoder_channels: [64, 32, 32, 16, 16], ..UNetConfig::default() };
    let mut config = RunConfig { network, ..Profile::Scratch.config() };
    config.method.name = Method::Pce;
    config
}

/// Its weights after so many steps in f32, batch 4, and the last value of the loss.
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

/// Logits, and the gradient of the cross-entropy at every learned parameter.
pub struct Found {
    pub logits: Vec<f32>,
    pub gradients: BTreeMap<String, Vec<f32>>,
}

/// One forward and backward pass.
pub fn gradients(
    kernels: &Arc<dyn Kernels>,
    unet_config: &UNetConfig,
    weights: &Weights,
    image: &Tensor,
    labels: &[u8],
    mode: Mode,
) -> Found {
    let network = Network::new(unet(unet_config), weights, kernels.clone()).unwrap();
    let (b, _, h, w) = image.dims4().unwrap();
    let tape = network.forward(image, mode).unwrap();
    let logits = network.output(&tape).unwrap().to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    let labels = Tensor::from_slice(labels, (b, h, w), &Device::Cpu).unwrap();
    let gradient = cross_entropy(&logits, &labels).unwrap().gradient.to_device(network.device()).unwrap();
    let found = network.backward(&tape, Some(&gradient), &[], false).unwrap();
    let gradients = network.learned().map(|name| (name.to_owned(), network.export(name, &found.parameters[name]).unwrap().data)).collect();
    Found { logits: logits.flatten_all().unwrap().to_vec1().unwrap(), gradients }
}

/// How far one is from the other, in L2 norms.
#[derive(Debug)]
pub struct Deviation {
    /// Of logits, relative.
    pub logits: f64,
    /// Of all gradients as one vector, relative.
    pub all: f64,
    /// Cosine of the two vectors of all gradients.
    pub cosine: f64,
    /// Length of the one by that of the other.
    pub norm: f64,
    /// Middle one and largest of parameters, relative, and the name of the largest.
    pub median: f64,
    pub worst: (f64, String),
}

/// Of `found` from `exact`.
pub fn deviation(found: &Found, exact: &Found) -> Deviation {
    let mut each: Vec<(f64, String)> =
        exact.gradients.iter().map(|(name, exact)| (relative(&found.gradients[name], exact), name.clone())).collect();
    each.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = |found: &Found| found.gradients.values().flatten().copied().collect::<Vec<f32>>();
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

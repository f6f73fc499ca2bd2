//! Deviation of bf16 gradients from f32 gradients: `cargo bench -p train --bench gradients -- [--random [--small] | --checkpoint FILE
//! --data FOLDER] [--write FILE]`. The default is the small network that `tests/bf16_gradients.rs` trains for a few steps.
//!
//! `--random` takes the default network before its first step, with `--small` the small one. `--checkpoint` takes a trained network and
//! crops of its training images. `--write` saves the case for `peer/pytorch_gradients.py`, which measures the same deviation for PyTorch's
//! autocast.

#[path = "../tests/suite/support/pictures/mod.rs"]
#[expect(dead_code, reason = "the tests use the other functions")]
mod pictures;
#[path = "../tests/suite/support/trained/mod.rs"]
mod trained;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;
use models::card::Normalisation;
use models::unet::{UNetConfig, unet};
use models::weights::{Array, Weights, WeightsFile};
use train::augment::normalise;
use train::data::{Dataset, RgbImage, Split};
use train::network::kernels::{Bf16Isa, Cpu, Kernels};
use train::network::{Mode, initial_weights};
use train::step::stack_images;
use trained::{batch, deviation, gradients};

/// Height and width of the crops for a checkpoint, in pixels.
const SIDE: usize = 256;
/// Number of crops.
const IMAGES: usize = 4;

/// Network with weights, and a batch with labels.
struct Case {
    network: UNetConfig,
    weights: Weights,
    image: Tensor,
    labels: Vec<u8>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |flag: &str| arguments.iter().position(|word| word == flag).map(|at| PathBuf::from(&arguments[at + 1]));
    let has = |flag: &str| arguments.iter().any(|word| word == flag);
    let case = match (after("--checkpoint"), after("--data")) {
        (Some(checkpoint), Some(data)) => of_checkpoint(&checkpoint, &data),
        _ if has("--random") && has("--small") => random(trained::config().network),
        _ if has("--random") => random(UNetConfig::default()),
        _ => small(),
    };
    let of = |kernels: Cpu, mode| {
        gradients(&(Arc::new(kernels) as Arc<dyn Kernels>), &case.network, &case.weights, &case.image, &case.labels, mode)
    };
    let unit = Bf16Isa::best().0;
    for mode in [Mode::Train, Mode::Frozen] {
        let d = deviation(&of(Cpu::default().in_bf16(unit), mode), &of(Cpu::default(), mode));
        println!(
            "{mode:?}: logits {:.2e} gradients {:.2e} median {:.2e} worst {:.2e} ({}) cosine {:.5} norm {:.4}",
            d.logits, d.all, d.median, d.worst.0, d.worst.1, d.cosine, d.norm
        );
    }
    if let Some(file) = after("--write") {
        write(&file, &case);
    }
}

fn small() -> Case {
    let (weights, loss) = trained::trained(trained::STEPS);
    println!("a small network trained for {} steps, loss {loss:.3}", trained::STEPS);
    let (image, labels) = batch(1, 4);
    Case { network: trained::config().network, weights, image, labels }
}

fn random(network: UNetConfig) -> Case {
    let (image, labels) = batch(1, 4);
    Case { weights: initial_weights(&unet(&network), 0), network, image, labels }
}

fn of_checkpoint(checkpoint: &Path, data: &Path) -> Case {
    let file = train::checkpoint::open(checkpoint).unwrap();
    let mut config = train::checkpoint::config_of(&file).unwrap();
    data.clone_into(&mut config.data.folder);
    let dataset = Dataset::load(&config).unwrap();
    let is_large = |image: &RgbImage| image.width >= SIDE && image.height >= SIDE;
    let large: Vec<_> = dataset.of(Split::Train).map(|(_, sample)| sample).filter(|sample| is_large(&sample.image)).collect();
    assert!(!large.is_empty(), "there is an image of {SIDE} x {SIDE} pixels or more");
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for i in 0..IMAGES {
        let sample = large[i % large.len()];
        // An image that is used more than once contributes another corner each time.
        let again = i / large.len();
        let (left, top) = (again % 2 * (sample.image.width - SIDE), again / 2 % 2 * (sample.image.height - SIDE));
        let rows = |y: usize| (top + y) * sample.image.width + left;
        let pixels = (0..SIDE).flat_map(|y| sample.image.data[3 * rows(y)..][..3 * SIDE].to_vec()).collect();
        images.push(normalise(&RgbImage::new(SIDE, SIDE, pixels).unwrap(), &Normalisation::IMAGENET));
        labels.extend((0..SIDE).flat_map(|y| sample.scribble.data[rows(y)..][..SIDE].to_vec()));
    }
    Case { network: config.network, weights: file.arrays, image: stack_images(&images, SIDE).unwrap(), labels }
}

fn write(path: &Path, case: &Case) {
    let parameters = unet(&case.network).parameters();
    let mut arrays: Weights = parameters.iter().map(|p| (p.name.clone(), case.weights[&p.name].clone())).collect();
    let image: Vec<f32> = case.image.flatten_all().unwrap().to_vec1().unwrap();
    arrays.insert("labels".into(), Array::new([case.labels.len()], case.labels.iter().map(|v| f32::from(*v)).collect::<Vec<_>>()));
    arrays.insert("image".into(), Array::new(case.image.dims(), image));
    WeightsFile { arrays, metadata: BTreeMap::new(), verified: false }.write(path).unwrap();
}

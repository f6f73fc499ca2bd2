//! U-Net with a `MobileNetV2` encoder, forward and backward, against PyTorch's f64 results (`tests/data/mobilenet/README.md`).

use crate::support::reference;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::support::reference::{f64s, summary_deviation, u};
use candle_core::{DType, Device, Tensor};
use models::unet::{Encoder, UNetConfig, unet};
use models::weights::Array;
use train::network::kernels::{Cpu, Kernels, Reference};
use train::network::{Mode, Network};

const SEED: u64 = 1;

fn vectors() -> HashMap<String, Tensor> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data/mobilenet/vectors.safetensors");
    candle_core::safetensors::load(file, &Device::Cpu).unwrap()
}

fn formula(name: &str, scale: f64, shape: [usize; 4]) -> Tensor {
    let values: Vec<f64> = u(SEED, name, shape.iter().product()).into_iter().map(|v| scale * v).collect();
    Tensor::from_vec(values, &shape, &Device::Cpu).unwrap()
}

/// Returns the deviation of the logits and the largest deviations of a gradient (including that of the image) and of a statistic.
fn deviations(kernels: impl Kernels + 'static, mode: Mode) -> (f64, f64, f64) {
    let kernels: Arc<dyn Kernels> = Arc::new(kernels);
    let graph = unet(&UNetConfig { encoder: Encoder::MobileNetV2, ..UNetConfig::default() });
    let mut network = Network::new(graph.clone(), &reference::weights(SEED, &graph), kernels.clone()).unwrap();
    let golden = vectors();
    let kind = if mode == Mode::Train { "train" } else { "frozen" };
    let expected = |name: &str| &golden[&format!("{kind}.{name}")];
    let norm = |name: &str| f64s(expected(name))[0];
    let of = |name: &str, probe: &str, found: &Array| summary_deviation(SEED, probe, found, expected(name));
    let array = |tensor: &Tensor| Array::new(tensor.dims(), f64s(tensor).into_iter().map(|v| v as f32).collect());

    let tape = network.forward(&formula("input", 20.0, [2, 3, 64, 64]).to_dtype(kernels.dtype()).unwrap(), mode).unwrap();
    let dlogits = formula("dlogits", 1.0, [2, 2, 64, 64]).to_dtype(kernels.dtype()).unwrap();
    let logits = of("logits", "logits", &array(&network.output(&tape).unwrap()));
    let gradients = network.backward(&tape, Some(&dlogits), &[], true).unwrap();
    let mut worst = of("dinput", "dinput", &array(gradients.image.as_ref().unwrap()));
    let learned: Vec<String> = network.learned().map(str::to_owned).collect();
    assert_eq!(learned.len(), 187);
    let largest = learned.iter().map(|name| norm(&format!("grad.{name}"))).fold(0.0, f64::max);
    for name in &learned {
        let gradient = network.export(name, &gradients.parameters[name]).unwrap();
        let key = format!("grad.{name}");
        // A bias followed by a normalisation with batch statistics has the gradient 0, so only rounding is left.
        let unit = norm(&key).max(1e-6 * largest);
        worst = worst.max(of(&key, name, &gradient) * norm(&key) / unit);
    }
    let mut statistics = 0.0f64;
    if mode == Mode::Train {
        network.update_running_statistics(&tape, 0.1).unwrap();
        for (name, found) in network.weights().unwrap().iter().filter(|(name, _)| name.contains("running_")) {
            statistics = statistics.max(of(&format!("stat.{name}"), name, found));
        }
    }
    (logits, worst, statistics)
}

#[test]
fn the_f64_reference_equals_pytorch() {
    for mode in [Mode::Frozen, Mode::Train] {
        let (logits, gradients, statistics) = deviations(Reference::new(Device::Cpu, DType::F64), mode);
        // The stored results are rounded to f32.
        assert!(logits <= 1e-6 && gradients <= 1e-6 && statistics <= 1e-6, "{mode:?}: {logits:.1e}, {gradients:.1e}, {statistics:.1e}");
    }
}

/// Rounding moves some activations across 0 or 6, which changes all gradients before them; the f64 test has the tight tolerance.
#[test]
fn the_fast_path_is_close_to_pytorch() {
    for (mode, forward, backward) in [(Mode::Frozen, 1e-4, 2e-2), (Mode::Train, 2e-4, 5e-2)] {
        let (logits, gradients, statistics) = deviations(Cpu::default(), mode);
        println!("{mode:?}: logits {logits:.1e}, gradients {gradients:.1e}, statistics {statistics:.1e}");
        assert!(
            logits <= forward && gradients <= backward && statistics <= forward,
            "{mode:?}: {logits:.1e}, {gradients:.1e}, {statistics:.1e}"
        );
    }
}

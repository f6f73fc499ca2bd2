//! Self-check: comparison of fused kernels with the reference on the current device.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use models::graph::{Builder, Graph};
use models::weights::{Array, Weights};
use support::{Context, Result, bail};

use super::super::{Kernels, Reference};
use crate::network::{Mode, Network, initial_weights};
use crate::rng::CounterRng;

/// Height and width of the test image, in pixels.
const SIDE: usize = 16;
const CHANNELS: usize = 16;
const BATCH: usize = 2;

/// Runs two small networks forward and backward on `kernels` and on the reference, and compares outputs and gradients: one of convolutions
/// with normalisation and ReLU, one of a convolution with upsampled input and skip connection.
///
/// `tolerance` is the largest allowed `|found - expected| / |expected|` in the Euclidean norm of each tensor.
pub fn self_check(kernels: &Arc<dyn Kernels>, tolerance: f64) -> Result<()> {
    let doing = || "checking the fused kernels on this device";
    let hint = || "--set run.kernels=reference trains without them, slowly; --set run.precision=f32 may help too";
    let found = results(kernels).doing(doing).hint(hint)?;
    let reference: Arc<dyn Kernels> = Arc::new(Reference::new(Device::Cpu, DType::F32));
    for (name, expected) in results(&reference).doing(doing)? {
        let error = relative_error(&found[&name], &expected);
        if error.is_nan() || error > tolerance {
            bail!("the fused kernels disagree with the reference on this device: the relative error of {name} is {error:.1e}, allowed is {tolerance:.0e}"; hint: "{}", hint());
        }
        tracing::debug!("self-check: the relative error of {name} is {error:.1e}");
    }
    Ok(())
}

/// Builds the two test networks.
fn graphs() -> [Graph; 2] {
    let (plain, upsampled) = (Builder::new(), Builder::new());
    // The second network has no normalisation, because one would hide a wrong scale factor.
    let output = plain.input(CHANNELS).conv("first", CHANNELS, 3, 1).norm("normalisation").relu().conv("second", CHANNELS, 1, 1);
    let plain = plain.finish(output, &[]);
    let large = upsampled.input(CHANNELS);
    let output = large.conv("smaller", CHANNELS, 3, 2).upsample().concat(large).conv("of an upsampled feature map", CHANNELS, 3, 1);
    [plain, upsampled.finish(output, &[])]
}

/// Returns outputs and gradients of both networks by name.
fn results(kernels: &Arc<dyn Kernels>) -> Result<BTreeMap<String, Vec<f32>>> {
    let mut found = BTreeMap::new();
    for (graph, name) in graphs().into_iter().zip(["convolutions", "upsampled input"]) {
        results_of(graph, name, kernels, &mut found)?;
    }
    Ok(found)
}

fn results_of(graph: Graph, what: &str, kernels: &Arc<dyn Kernels>, found: &mut BTreeMap<String, Vec<f32>>) -> Result<()> {
    let weights: Weights = initial_weights(&graph, 1).into_iter().map(with_numbers).collect();
    let network = Network::new(graph, &weights, kernels.clone())?;
    let shape = (BATCH, CHANNELS, SIDE, SIDE);
    let tensor = |name: &str| Tensor::from_vec(numbers(name, BATCH * CHANNELS * SIDE * SIDE), shape, &Device::Cpu);
    let tape = network.forward(&tensor("image")?, Mode::Train)?;
    let gradients = network.backward(&tape, Some(&tensor("gradient")?), &[], true)?;
    let values = |tensor: &Tensor| tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    found.insert(format!("the result ({what})"), values(&network.output(&tape)?)?);
    found.insert(format!("the gradient at the image ({what})"), values(&gradients.image.expect("the image gradient was requested"))?);
    for (name, gradient) in &gradients.parameters {
        found.insert(format!("the gradient of {name}"), network.export(name, gradient)?.data);
    }
    Ok(())
}

/// Varies the values of vectors, which initialisation sets to constants.
fn with_numbers((name, array): (String, Array)) -> (String, Array) {
    let data = match array.shape.len() {
        1 => array.data.iter().zip(numbers(&name, array.data.len())).map(|(v, n)| v + 0.1 * n).collect(),
        _ => array.data,
    };
    (name, Array::new(array.shape, data))
}

/// Returns `count` normally distributed numbers that depend on `name`.
fn numbers(name: &str, count: usize) -> Vec<f32> {
    let mut rng = CounterRng::new(1, name, 0, 0, 0);
    (0..count).map(|_| rng.normal() as f32).collect()
}

/// Returns `|found - expected| / |expected|` in the Euclidean norm.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let off = length(&mut found.iter().zip(expected).map(|(f, e)| f64::from(*f) - f64::from(*e)));
    off / length(&mut expected.iter().map(|e| f64::from(*e))).max(1e-12)
}

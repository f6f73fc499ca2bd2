//! Reference vectors computed by PyTorch in f64, and weights by formula (`tests/data/golden/README.md`).

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use models::graph::{Graph, Parameter, Role};
use models::weights::{Array, Weights};

pub type Vectors = HashMap<String, Tensor>;

/// Reads the vectors of one file from the folder `$GOLDEN_DIR` if it is set, else from `tests/data/golden`.
pub fn vectors(name: &str) -> Vectors {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden");
    let folder = std::env::var_os("GOLDEN_DIR").map_or(default, PathBuf::from);
    candle_core::safetensors::load(folder.join(format!("{name}.safetensors")), &Device::Cpu).unwrap()
}

pub fn f64s(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub fn scalar(tensor: &Tensor) -> f64 {
    f64s(tensor)[0]
}

/// Returns uniform pseudo-random numbers in [-1, 1), a function of seed and name.
pub fn u(seed: u64, name: &str, count: usize) -> Vec<f64> {
    let mut key = 0xcbf2_9ce4_8422_2325_u64;
    for byte in format!("{seed}/{name}").bytes() {
        key = (key ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (0..count as u64)
        .map(|i| {
            let z = key.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (((z ^ (z >> 31)) >> 40) as f64 - 8_388_608.0) / 8_388_608.0
        })
        .collect()
}

/// Computes the values of a parameter by the formula of the golden vectors.
pub fn parameter(seed: u64, parameter: &Parameter) -> Array {
    let bound = match parameter.role {
        Role::Weight => (3.0 / parameter.shape[1..].iter().product::<usize>() as f64).sqrt(),
        _ => f64::NAN,
    };
    let data = u(seed, &parameter.name, parameter.count()).into_iter().map(|u| match parameter.role {
        Role::Weight => bound * u,
        Role::Scale => 1.0 + 0.1 * u,
        Role::Shift | Role::Bias | Role::RunningMean => 0.1 * u,
        Role::RunningVar => 1.0 + 0.5 * u.abs(),
    });
    Array::new(parameter.shape.clone(), data.map(|v| v as f32).collect())
}

pub fn weights(seed: u64, graph: &Graph) -> Weights {
    graph.parameters().iter().map(|p| (p.name.clone(), parameter(seed, p))).collect()
}

/// Returns the seed of the golden vectors: the one for which the formula gives the stored weights.
pub fn seed() -> u64 {
    let stored = &vectors("weights")["encoder.conv1.weight"];
    let expected = &f64s(stored)[1..];
    let first =
        |seed| -> Vec<f64> { u(seed, "encoder.conv1.weight", 8).iter().map(|u| f64::from(((3.0f64 / 147.0).sqrt() * u) as f32)).collect() };
    (0..1_000_000).find(|&seed| first(seed) == expected).expect("a seed below a million gives the stored weights")
}

/// Returns the largest difference and the largest expected magnitude.
pub fn difference(found: &[f64], expected: &[f64]) -> (f64, f64) {
    assert_eq!(found.len(), expected.len());
    let worst =
        found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, |worst, d| if d.is_nan() { f64::INFINITY } else { d.max(worst) });
    (worst, expected.iter().map(|v| v.abs()).fold(0.0, f64::max))
}

/// Asserts `max |found - expected| <= tolerance * max |expected|`.
pub fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (worst, scale) = difference(&f64s(found), &f64s(expected));
    assert!(worst <= tolerance * scale, "{what}: differs by {:.2e} of the maximum, allowed {tolerance:.0e}", worst / scale);
}

/// Returns the deviation of an array from its stored summary `[norm, dot with u("probe.<name>"), first 8 values]`, relative to the norm.
pub fn summary_deviation(seed: u64, name: &str, found: &Array, summary: &Tensor) -> f64 {
    let expected = f64s(summary);
    let values: Vec<f64> = found.data.iter().map(|v| f64::from(*v)).collect();
    let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    let probe = u(seed, &format!("probe.{name}"), values.len());
    let dot: f64 = values.iter().zip(&probe).map(|(v, p)| v * p).sum();
    let mut found = vec![norm, dot];
    found.extend(values.iter().take(8));
    difference(&found, &expected[..found.len()]).0 / expected[0]
}

/// Returns the values of a tensor of bytes.
pub fn u8s(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

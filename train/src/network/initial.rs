//! Random initialisation of network parameters.

use models::graph::{Graph, Parameter, Role};
use models::weights::{Array, Weights};

use crate::rng::CounterRng;

/// Initialises every parameter of `graph`: encoder convolutions as in torchvision (Kaiming normal, fan out), decoder convolutions as in
/// `PyTorch`'s default (Kaiming uniform, a = sqrt 5), heads and projections Xavier uniform; normalisations start as the identity.
///
/// Each value depends on the seed and on the name of its parameter alone.
pub fn initial_weights(graph: &Graph, seed: u64) -> Weights {
    graph.parameters().into_iter().map(|parameter| (parameter.name.clone(), initial(&parameter, seed))).collect()
}

fn initial(parameter: &Parameter, seed: u64) -> Array {
    let data = match parameter.role {
        Role::Scale | Role::RunningVar => vec![1.0; parameter.count()],
        Role::Shift | Role::RunningMean | Role::Bias => vec![0.0; parameter.count()],
        Role::Weight => convolution(parameter, seed),
    };
    Array::new(parameter.shape.clone(), data)
}

fn convolution(parameter: &Parameter, seed: u64) -> Vec<f32> {
    let [outputs, inputs, rows, columns] = parameter.shape[..] else { panic!("{} is no convolution weight", parameter.name) };
    let (fan_in, fan_out) = ((inputs * rows * columns) as f64, (outputs * rows * columns) as f64);
    let mut rng = CounterRng::new(seed, &parameter.name, 0, 0, 0);
    let mut uniform = |bound: f64| (0..parameter.count()).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect();
    match parameter.name.split('.').next() {
        Some("encoder") => {
            let std = (2.0 / fan_out).sqrt();
            (0..parameter.count()).map(|_| (rng.normal() * std) as f32).collect()
        }
        Some("decoder") => uniform((1.0 / fan_in).sqrt()),
        _ => uniform((6.0 / (fan_in + fan_out)).sqrt()),
    }
}

//! Default network, forward and backward, against PyTorch's f64 results; tolerances as in `tests/data/golden/README.md`.

use crate::support::reference;
use std::sync::Arc;

use crate::support::reference::{assert_close, seed, summary_deviation, vectors};
use candle_core::{DType, Device};
use models::unet::{UNetConfig, projection, unet};
use train::network::kernels::{Cpu, Kernels, Reference};
use train::network::{Mode, Network};

fn network(kernels: Arc<dyn Kernels>) -> Network {
    let graph = unet(&UNetConfig::default());
    let weights = reference::weights(seed(), &graph);
    Network::new(graph, &weights, kernels).unwrap()
}

fn f64_kernels() -> Arc<dyn Kernels> {
    Arc::new(Reference::new(Device::Cpu, DType::F64))
}

#[test]
fn weights_computed_by_formula_equal_the_stored_ones() {
    let seed = seed();
    let stored = vectors("weights");
    let mut graphs = vec![unet(&UNetConfig::default()), projection("r1", 16, 16, 32)];
    graphs.push(projection("r4", 64, 32, 32));
    let parameters: Vec<_> = graphs.iter().flat_map(models::graph::Graph::parameters).collect();
    assert_eq!(parameters.len(), stored.len());
    for parameter in parameters {
        let values = reference::parameter(seed, &parameter).data;
        let expected = reference::f64s(&stored[&parameter.name]);
        let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        assert!((norm - expected[0]).abs() <= 1e-6 * expected[0], "{}", parameter.name);
        for (value, expected) in values.iter().zip(&expected[1..]) {
            assert_eq!(f64::from(*value), *expected, "{}", parameter.name);
        }
    }
}

#[test]
fn logits_of_an_evaluation_on_the_fast_path_are_close_to_pytorch_s() {
    let network = network(Arc::new(Cpu::default()));
    let golden = vectors("unet_eval");
    for case in ["a", "b"] {
        let of = |what: &str| &golden[&format!("{case}.{what}")];
        let tape = network.forward(of("input"), Mode::Eval).unwrap();
        assert_close(case, &network.output(&tape).unwrap(), of("logits"), 1e-4);
        assert_close(case, &network.feature_tap(&tape, "block3").unwrap(), of("tap3"), 1e-4);
        assert_close(case, &network.feature_tap(&tape, "block5").unwrap(), of("tap5"), 1e-4);
    }
}

/// Runs one forward and one backward pass; returns the largest deviations of parameter gradients, of the image's gradient and of running
/// statistics.
fn step(file: &str, mode: Mode, mut network: Network, forward_tolerance: f64) -> (f64, f64, f64) {
    let seed = seed();
    let golden = vectors(file);
    let tape = network.forward(&golden["input"], mode).unwrap();
    assert_close("logits", &network.output(&tape).unwrap(), &golden["logits"], forward_tolerance);
    let taps = [("block3", golden["dtap3"].clone()), ("block5", golden["dtap5"].clone())];
    let gradients = network.backward(&tape, Some(&golden["dlogits"]), &taps, true).unwrap();
    let mut worst = 0.0f64;
    let learned: Vec<String> = network.learned().map(str::to_owned).collect();
    assert_eq!(learned.len(), 139);
    for name in &learned {
        let gradient = network.export(name, &gradients.parameters[name]).unwrap();
        worst = worst.max(summary_deviation(seed, name, &gradient, &golden[&format!("grad.{name}")]));
    }
    let (dimage, scale) = reference::difference(&reference::f64s(gradients.image.as_ref().unwrap()), &reference::f64s(&golden["dinput"]));
    let mut statistics = 0.0f64;
    if mode == Mode::Train {
        network.update_running_statistics(&tape, 0.1).unwrap();
        for (name, array) in network.weights().unwrap().iter().filter(|(name, _)| name.contains("running_")) {
            statistics = statistics.max(summary_deviation(seed, name, array, &golden[&format!("stat.{name}")]));
        }
    }
    (worst, dimage / scale, statistics)
}

#[test]
fn gradients_with_running_statistics_in_f64_equal_pytorch_s() {
    let (parameters, image, _) = step("unet_eval_grad", Mode::Frozen, network(f64_kernels()), 1e-6);
    assert!(parameters <= 1e-6 && image <= 1e-6, "parameters {parameters:.1e}, image {image:.1e}");
}

#[test]
fn gradients_with_running_statistics_on_the_fast_path_are_close_to_pytorch_s() {
    let (parameters, image, _) = step("unet_eval_grad", Mode::Frozen, network(Arc::new(Cpu::default())), 1e-4);
    // 2e-2 allows for pre-activations that cross 0 by rounding; the f64 test has the tight tolerance.
    assert!(parameters <= 2e-2 && image <= 2e-2, "parameters {parameters:.1e}, image {image:.1e}");
}

#[test]
fn a_training_step_in_f64_equals_pytorch_s() {
    let (parameters, image, statistics) = step("unet_train_step", Mode::Train, network(f64_kernels()), 1e-6);
    assert!(parameters <= 1e-6 && image <= 1e-6, "parameters {parameters:.1e}, image {image:.1e}");
    assert!(statistics <= 1e-6, "statistics {statistics:.1e}");
}

#[test]
fn a_training_step_on_the_fast_path_is_close_to_pytorch_s() {
    let (parameters, image, statistics) = step("unet_train_step", Mode::Train, network(Arc::new(Cpu::default())), 2e-4);
    assert!(parameters <= 5e-2 && image <= 5e-2, "parameters {parameters:.1e}, image {image:.1e}");
    assert!(statistics <= 2e-4, "statistics {statistics:.1e}");
}

//! Gradients of a whole network in bf16 against those in f32, in a trained network, whose rounding is not amplified.
//!
//! The yardstick is PyTorch's autocast on the same weights and pictures (`docs/lab/training-speed.md` has both, and how to measure them).

use crate::support::{devices, trained};
use std::sync::Arc;

use crate::support::trained::{Deviation, batch, config, deviation, gradients};
use candle_core::DType;
use models::unet::unet;
use models::weights::Weights;
use train::network::kernels::{Bf16Isa, Cpu, Kernels};
use train::network::{Mode, initial_weights};

/// What is allowed, in L2 norms: of logits, of all gradients, and of the middle one of the parameters.
struct Allowed {
    logits: f64,
    all: f64,
    median: f64,
}

/// Kernels in bf16 that can be tried here, by name.
fn kernels() -> Vec<(String, Arc<dyn Kernels>)> {
    let on_processor = |unit: Bf16Isa| (unit.name().to_owned(), Arc::new(Cpu::default().in_bf16(unit)) as Arc<dyn Kernels>);
    let mut all: Vec<_> = Bf16Isa::available().into_iter().map(on_processor).collect();
    all.extend(devices::devices(DType::BF16));
    all
}

fn check(what: &str, weights: &Weights, mode: Mode, allowed: &Allowed) {
    let (image, labels) = batch(1, 4);
    let of = |kernels: &Arc<dyn Kernels>| gradients(kernels, &config().network, weights, &image, &labels, mode);
    let exact = of(&(Arc::new(Cpu::default()) as Arc<dyn Kernels>));
    for (name, kernels) in kernels() {
        let d: Deviation = deviation(&of(&kernels), &exact);
        println!("{what}, {mode:?}, {name}: {d:?}");
        assert!(d.logits <= allowed.logits && d.all <= allowed.all && d.median <= allowed.median, "{what}, {mode:?}, {name}: {d:?}");
    }
}

/// `PyTorch`'s autocast is at logits .0042 and .0043, gradients .063 and .039, middle parameter .48 and .34 here.
#[test]
fn gradients_of_a_trained_network_are_as_exact_as_stated() {
    let (weights, loss) = trained::trained(trained::STEPS);
    assert!(loss < 0.3, "the network has learned to tell discs from ground, loss {loss:.3}");
    check("trained", &weights, Mode::Train, &Allowed { logits: 8e-3, all: 0.1, median: 0.7 });
    check("trained", &weights, Mode::Frozen, &Allowed { logits: 8e-3, all: 0.08, median: 0.6 });
}

/// With running statistics random weights amplify nothing: the sharper test. Autocast is at logits .0061, gradients .0045, middle
/// parameter .10 here.
#[test]
fn gradients_of_a_network_of_random_weights_with_running_statistics_are_as_exact_as_stated() {
    let weights = initial_weights(&unet(&config().network), 0);
    check("random", &weights, Mode::Frozen, &Allowed { logits: 1e-2, all: 1e-2, median: 0.15 });
}

//! Gradients of a whole network in bf16 against gradients in f32. The network is trained, because a trained network does not amplify
//! rounding.
//!
//! The limits are relative to PyTorch's autocast on the same weights and pictures (`docs/lab/training-speed.md` lists both deviations and
//! the commands that measure them).

use crate::support::{devices, trained};
use std::sync::Arc;

use crate::support::trained::{Deviation, batch, config, deviation, gradients};
use candle_core::DType;
use models::unet::unet;
use models::weights::Weights;
use train::network::kernels::{Bf16Isa, Cpu, Kernels};
use train::network::{Mode, initial_weights};

/// Upper limits of relative L2 deviations: of the logits, of all gradients as one vector, and of the median parameter.
struct Allowed {
    logits: f64,
    all: f64,
    median: f64,
}

/// Lists the bf16 kernels that run on this machine, with their names.
fn kernels() -> Vec<(String, Arc<dyn Kernels>)> {
    let on_cpu = |isa: Bf16Isa| (isa.name().to_owned(), Arc::new(Cpu::default().in_bf16(isa)) as Arc<dyn Kernels>);
    let mut all: Vec<_> = Bf16Isa::available().into_iter().map(on_cpu).collect();
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

/// `PyTorch`'s autocast deviates by .0042 and .0043 in the logits, .063 and .039 in all gradients, .48 and .34 in the median parameter
/// (batch statistics and running statistics).
#[test]
fn bf16_gradients_of_a_trained_network_stay_within_the_stated_deviation() {
    let (weights, loss) = trained::trained(trained::STEPS);
    assert!(loss < 0.3, "the network has learned to tell discs from background, loss {loss:.3}");
    check("trained", &weights, Mode::Train, &Allowed { logits: 8e-3, all: 0.1, median: 0.7 });
    check("trained", &weights, Mode::Frozen, &Allowed { logits: 8e-3, all: 0.08, median: 0.6 });
}

/// Random weights with running statistics do not amplify rounding, so this test has the tighter limits. `PyTorch`'s autocast deviates by
/// .0061 in the logits, .0045 in all gradients and .10 in the median parameter.
#[test]
fn bf16_gradients_of_random_weights_with_running_statistics_stay_within_the_stated_deviation() {
    let weights = initial_weights(&unet(&config().network), 0);
    check("random", &weights, Mode::Frozen, &Allowed { logits: 1e-2, all: 1e-2, median: 0.15 });
}

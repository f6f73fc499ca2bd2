//! Operations of the graph: gradients against finite differences in f64, and fast kernels against the reference.

use crate::support::reference;
use std::sync::Arc;

use crate::support::operations::{gradients, graphs, image, relative_error};
use crate::support::reference::{assert_close, f64s, u};
use candle_core::{DType, Device, Tensor};
use models::graph::{Builder, Graph};
use models::unet::{Encoder, UNetConfig, unet};
use models::weights::Weights;
use train::network::kernels::{Bf16Isa, Cpu, Isa, Kernels, Reference};
use train::network::{Mode, Network};

/// Returns `sum(output * c)` for a fixed array c.
fn loss(network: &Network, image: &Tensor, mode: Mode) -> f64 {
    let tape = network.forward(image, mode).unwrap();
    let output = network.output(&tape).unwrap();
    f64s(&output).iter().zip(u(7, "cotangent", output.elem_count())).map(|(v, c)| v * c).sum()
}

/// Returns central differences at a few positions, as (position, slope).
fn central_differences(len: usize, mut at: impl FnMut(usize, f64) -> f64) -> Vec<(usize, f64)> {
    const STEP: f64 = 1e-6;
    (0..len).step_by((len / 12).max(1)).map(|i| (i, (at(i, STEP) - at(i, -STEP)) / (2.0 * STEP))).collect()
}

#[test]
fn gradients_equal_finite_differences() {
    for (name, graph) in graphs() {
        for mode in [Mode::Train, Mode::Frozen] {
            let weights = reference::weights(3, &graph);
            let kernels: Arc<dyn Kernels> = Arc::new(Reference::new(Device::Cpu, DType::F64));
            let mut network = Network::new(graph.clone(), &weights, kernels).unwrap();
            let image = image(&graph, 6, 8);
            let (_, dimage, dparameters) = gradients(&network, &image, mode);
            let values = f64s(&image);
            let shifted = |i: usize, by: f64| {
                let mut values = values.clone();
                values[i] += by;
                Tensor::from_vec(values, image.shape(), &Device::Cpu).unwrap()
            };
            assert_slopes(
                &format!("{name} {mode:?} image"),
                &f64s(&dimage),
                &central_differences(values.len(), |i, by| loss(&network, &shifted(i, by), mode)),
            );
            for (key, gradient) in dparameters {
                let original = network.parameters()[&key].clone();
                let values = f64s(&original);
                let slopes = central_differences(values.len(), |i, by| {
                    let mut values = values.clone();
                    values[i] += by;
                    network.set(&key, Tensor::from_vec(values, original.shape(), &Device::Cpu).unwrap());
                    loss(&network, &image, mode)
                });
                network.set(&key, original);
                assert_slopes(&format!("{name} {mode:?} {key}"), &f64s(&gradient), &slopes);
            }
        }
    }
}

fn assert_slopes(what: &str, analytic: &[f64], slopes: &[(usize, f64)]) {
    let scale = analytic.iter().map(|v| v.abs()).fold(1e-3, f64::max);
    for (i, slope) in slopes {
        assert!((analytic[*i] - slope).abs() <= 1e-5 * scale, "{what} at {i}: gradient {}, finite difference {slope}", analytic[*i]);
    }
}

#[test]
fn fast_kernels_equal_the_reference_on_every_instruction_set() {
    for isa in Isa::available() {
        // Large filters select another kernel for the same operation.
        let builder = Builder::new();
        let large = builder.input(96).conv("c", 144, 3, 1);
        for (name, graph) in graphs().into_iter().chain([("conv 3x3, a large filter", builder.finish(large, &[]))]) {
            let weights: Weights = reference::weights(3, &graph);
            let reference = Network::new(graph.clone(), &weights, Arc::new(Reference::new(Device::Cpu, DType::F64))).unwrap();
            let fast = Network::new(graph.clone(), &weights, Arc::new(Cpu::with_isa(isa))).unwrap();
            for (height, width) in [(2, 2), (6, 10), (34, 32)] {
                let image = image(&graph, height, width);
                for mode in [Mode::Train, Mode::Frozen] {
                    let what = format!("{name} {isa:?} {height}x{width} {mode:?}");
                    let (y, dx, dw) = gradients(&reference, &image, mode);
                    let (fast_y, fast_dx, fast_dw) = gradients(&fast, &image.to_dtype(DType::F32).unwrap(), mode);
                    assert_close(&what, &fast_y, &y, 2e-5);
                    assert_close(&what, &fast_dx, &dx, 2e-4);
                    for (key, gradient) in dw {
                        assert_close(&format!("{what} {key}"), &fast_dw[&key], &gradient, 2e-4);
                    }
                }
            }
        }
    }
}

#[test]
fn freeing_activations_during_the_backward_pass_changes_no_gradient() {
    let config = UNetConfig { encoder_width: 16, decoder_channels: [32, 32, 16, 16, 16], ..Default::default() };
    let all: [Arc<dyn Kernels>; 2] = [Arc::new(Cpu::default()), Arc::new(Reference::new(Device::Cpu, DType::F32))];
    for kernels in &all {
        for (name, graph) in graphs().into_iter().chain([("the whole network", unet(&config))]) {
            let network = Network::new(graph.clone(), &reference::weights(3, &graph), kernels.clone()).unwrap();
            let image = image(&graph, 32, 64).to_dtype(DType::F32).unwrap();
            let mut tape = network.forward(&image, Mode::Train).unwrap();
            let gradient = network.output(&tape).unwrap();
            let taps: Vec<(&str, Tensor)> =
                graph.feature_taps.iter().map(|tap| (tap.name.as_str(), network.feature_tap(&tape, &tap.name).unwrap())).collect();
            let kept = network.backward(&tape, Some(&gradient), &taps, true).unwrap();
            let released = network.backward_and_release(&mut tape, Some(&gradient), &taps, true).unwrap();
            assert_eq!(f64s(&kept.image.unwrap()), f64s(&released.image.unwrap()), "{name}");
            for (key, gradient) in &kept.parameters {
                assert_eq!(f64s(gradient), f64s(&released.parameters[key]), "{name} {key}");
            }
        }
    }
}

/// Rounding an operand to bf16 has a relative error of at most 2^-9, so sums of products deviate by about 3e-3.
#[test]
fn bf16_convolutions_are_close_to_the_reference_on_every_instruction_set() {
    for unit in Bf16Isa::available() {
        for (name, graph) in graphs() {
            let weights: Weights = reference::weights(3, &graph);
            let reference = Network::new(graph.clone(), &weights, Arc::new(Reference::new(Device::Cpu, DType::F64))).unwrap();
            let fast = Network::new(graph.clone(), &weights, Arc::new(Cpu::default().in_bf16(unit))).unwrap();
            let image = image(&graph, 34, 32);
            let (y, dx, dw) = gradients(&reference, &image, Mode::Frozen);
            let (fast_y, fast_dx, fast_dw) = gradients(&fast, &image.to_dtype(DType::F32).unwrap(), Mode::Frozen);
            let mut errors = vec![relative_error(&fast_y, &y), relative_error(&fast_dx, &dx)];
            errors.extend(dw.iter().map(|(key, gradient)| relative_error(&fast_dw[key], gradient)));
            assert!(errors.iter().all(|e| *e <= 4e-3), "{name} {unit:?}: {errors:?}");
        }
    }
}

/// `docs/lab/training-speed.md` states these errors for each convolution algorithm; `--nocapture` prints them.
#[test]
fn every_convolution_algorithm_stays_within_its_stated_error() {
    let builder = |inputs: usize, outputs: usize, kernel: usize, stride: usize| {
        let builder = Builder::new();
        let output = builder.input(inputs).conv("c", outputs, kernel, stride);
        builder.finish(output, &[])
    };
    let cases = [
        ("F(4x4, 3x3), small filter", builder(64, 64, 3, 1), 32),
        ("F(4x4, 3x3), large filter", builder(256, 128, 3, 1), 16),
        ("direct", builder(64, 64, 3, 2), 32),
        ("patches", builder(3, 64, 7, 2), 64),
    ];
    for (name, graph, side) in cases {
        let weights: Weights = reference::weights(3, &graph);
        let reference = Network::new(graph.clone(), &weights, Arc::new(Reference::new(Device::Cpu, DType::F64))).unwrap();
        let fast = Network::new(graph.clone(), &weights, Arc::new(Cpu::default())).unwrap();
        let image = image(&graph, side, side);
        let (y, dx, dw) = gradients(&reference, &image, Mode::Train);
        let (fast_y, fast_dx, fast_dw) = gradients(&fast, &image.to_dtype(DType::F32).unwrap(), Mode::Train);
        let errors = [relative_error(&fast_y, &y), relative_error(&fast_dx, &dx), relative_error(&fast_dw["c.weight"], &dw["c.weight"])];
        println!("{name}: forward {:.1e}, backward-data {:.1e}, backward-weight {:.1e}", errors[0], errors[1], errors[2]);
        assert!(errors.iter().all(|e| *e <= 2e-6), "{name}: {errors:?}");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for encoder in [Encoder::ResNet34, Encoder::MobileNetV2] {
        assert_same_for_any_number_of_threads(&unet(&UNetConfig {
            encoder,
            encoder_width: 16,
            decoder_channels: [64, 32, 32, 16, 16],
            ..Default::default()
        }));
    }
}

fn assert_same_for_any_number_of_threads(graph: &Graph) {
    let weights = reference::weights(3, graph);
    let image = image(graph, 64, 96).to_dtype(DType::F32).unwrap();
    let run = |threads: usize, unit: Option<Bf16Isa>| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let kernels = unit.map_or_else(Cpu::default, |unit| Cpu::default().in_bf16(unit));
            let network = Network::new(graph.clone(), &weights, Arc::new(kernels)).unwrap();
            let (y, dx, dw) = gradients(&network, &image, Mode::Train);
            (f64s(&y), f64s(&dx), dw.values().map(f64s).collect::<Vec<_>>())
        })
    };
    for unit in [None].into_iter().chain(Bf16Isa::available().into_iter().map(Some)) {
        let one = run(1, unit);
        assert!(one == run(2, unit) && one == run(3, unit), "{unit:?}");
    }
}

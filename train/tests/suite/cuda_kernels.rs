//! CUDA kernels against the reference: emulated on the CPU if there is a C++ compiler, and on a GPU if the feature `cuda` is enabled and
//! a GPU is present. A device that is not available is reported on stderr (`--nocapture` shows the line).

use crate::support::reference;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::devices::devices;
use crate::support::emulator::Emulator;
use crate::support::operations::{gradients, graphs, image, relative_error};
use crate::support::reference::{assert_close, f64s, seed, summary_deviation, vectors};
use candle_core::{DType, Device, Tensor};
use models::graph::Graph;
use models::unet::{UNetConfig, unet};
use train::network::kernels::cuda::{Cuda, self_check};
use train::network::kernels::{Kernels, Reference};
use train::network::{Mode, Network};

fn exact(graph: &Graph, weights: &models::weights::Weights) -> Network {
    Network::new(graph.clone(), weights, Arc::new(Reference::new(Device::Cpu, DType::F64))).unwrap()
}

#[test]
fn every_operation_in_f32_equals_the_reference() {
    for (device, kernels) in devices(DType::F32) {
        assert_operations_in_f32(&device, &kernels, &graphs());
    }
}

#[test]
fn convolutions_without_cudnn_equal_the_reference() {
    let Some(mut emulator) = Emulator::new(DType::F32) else { return };
    emulator.direct = true;
    let kernels: Arc<dyn Kernels> = Arc::new(Cuda::new(emulator));
    let convolutions = graphs().into_iter().filter(|(name, _)| name.starts_with("conv")).collect();
    assert_operations_in_f32("emulator, plain kernels", &kernels, &convolutions);
}

fn assert_operations_in_f32(device: &str, kernels: &Arc<dyn Kernels>, graphs: &BTreeMap<&str, Graph>) {
    for (name, graph) in graphs {
        let weights = reference::weights(3, graph);
        let (slow, fast) = (exact(graph, &weights), Network::new(graph.clone(), &weights, kernels.clone()).unwrap());
        for (height, width) in [(2, 2), (6, 10), (34, 32)] {
            let image = image(graph, height, width);
            for mode in [Mode::Train, Mode::Frozen] {
                let what = format!("{name} {device} {height}x{width} {mode:?}");
                let (y, dx, dw) = gradients(&slow, &image, mode);
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

/// Rounds to the nearest bf16 values.
fn rounded(tensor: &Tensor) -> Tensor {
    tensor.to_dtype(DType::BF16).unwrap().to_dtype(DType::F64).unwrap()
}

/// Feature maps are rounded to bf16 between operations (relative 2^-9), and a pre-activation close to 0 may change its sign, so the
/// tolerance applies to the L2 norm of whole tensors.
#[test]
fn every_operation_in_bf16_is_close_to_the_reference() {
    for (device, kernels) in devices(DType::BF16) {
        for (name, graph) in graphs() {
            let mut weights = reference::weights(3, &graph);
            for array in weights.values_mut().filter(|array| array.shape.len() == 4) {
                array.data.iter_mut().for_each(|v| *v = f32::from_bits(v.to_bits() & 0xffff_0000));
            }
            let (slow, fast) = (exact(&graph, &weights), Network::new(graph.clone(), &weights, kernels.clone()).unwrap());
            let image = rounded(&image(&graph, 34, 32));
            for mode in [Mode::Train, Mode::Frozen] {
                let what = format!("{name} {device} {mode:?}");
                let (y, dx, dw) = gradients(&slow, &image, mode);
                let (fast_y, fast_dx, fast_dw) = gradients(&fast, &image.to_dtype(DType::F32).unwrap(), mode);
                let close = |part: &str, found: &Tensor, exact: &Tensor, allowed: f64| {
                    let error = relative_error(found, exact);
                    assert!(error <= allowed, "{what} {part}: off by {error:.1e}, allowed {allowed:.0e}");
                };
                close("result", &fast_y, &y, 6e-3);
                close("image", &fast_dx, &dx, 5e-2);
                for (key, gradient) in dw {
                    close(&key, &fast_dw[&key], &gradient, 5e-2);
                }
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_order_in_which_threads_run() {
    for feature_dtype in [DType::F32, DType::BF16] {
        let (Some(forwards), Some(mut backwards)) = (Emulator::new(feature_dtype), Emulator::new(feature_dtype)) else { return };
        backwards.backwards = true;
        let both: [Arc<dyn Kernels>; 2] = [Arc::new(Cuda::new(forwards)), Arc::new(Cuda::new(backwards))];
        for (name, graph) in graphs() {
            let weights = reference::weights(3, &graph);
            let image = image(&graph, 34, 32).to_dtype(DType::F32).unwrap();
            let [one, other] = both.clone().map(|kernels| {
                let network = Network::new(graph.clone(), &weights, kernels).unwrap();
                let (y, dx, dw) = gradients(&network, &image, Mode::Train);
                (f64s(&y), f64s(&dx), dw.values().map(f64s).collect::<Vec<_>>())
            });
            assert!(one == other, "{name} in {feature_dtype:?}");
        }
    }
}

#[test]
fn logits_and_gradients_of_the_network_equal_pytorch_s() {
    let (graph, seed) = (unet(&UNetConfig::default()), seed());
    let weights = reference::weights(seed, &graph);
    let golden = vectors("unet_train_step");
    for (device, kernels) in devices(DType::F32) {
        let mut network = Network::new(graph.clone(), &weights, kernels).unwrap();
        let tape = network.forward(&golden["input"], Mode::Train).unwrap();
        assert_close(&device, &network.output(&tape).unwrap(), &golden["logits"], 2e-4);
        let taps = [("block3", golden["dtap3"].clone()), ("block5", golden["dtap5"].clone())];
        let gradients = network.backward(&tape, Some(&golden["dlogits"]), &taps, false).unwrap();
        let deviation = |name: &str| {
            let gradient = network.export(name, &gradients.parameters[name]).unwrap();
            summary_deviation(seed, name, &gradient, &golden[&format!("grad.{name}")])
        };
        let worst = network.learned().map(deviation).fold(0.0, f64::max);
        // As for the fast path of the CPU, most of the deviation comes from pre-activations that cross 0 by rounding.
        assert!(worst <= 5e-2, "{device}: gradients {worst:.1e}");
        network.update_running_statistics(&tape, 0.1).unwrap();
        for (name, array) in network.weights().unwrap().iter().filter(|(name, _)| name.contains("running_")) {
            let deviation = summary_deviation(seed, name, array, &golden[&format!("stat.{name}")]);
            assert!(deviation <= 2e-4, "{device}: {name} {deviation:.1e}");
        }
    }
}

#[test]
fn the_self_check_accepts_these_kernels_and_rejects_wrong_ones() {
    for (feature_dtype, tolerance) in [(DType::F32, 1e-4), (DType::BF16, 5e-2)] {
        for (device, kernels) in devices(feature_dtype) {
            self_check(&kernels, tolerance).unwrap_or_else(|error| panic!("{device}: {error}"));
        }
        if let Some(mut emulator) = Emulator::new(feature_dtype) {
            emulator.broken = true;
            let kernels: Arc<dyn Kernels> = Arc::new(Cuda::new(emulator));
            let error = self_check(&kernels, tolerance).unwrap_err();
            assert!(format!("{error:?}").contains("kernels=reference"), "{error:?}");
        }
    }
}

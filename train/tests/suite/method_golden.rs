//! Projection heads, pseudo-labels and the optimiser against PyTorch's f64 results; tolerances as in `tests/data/golden/README.md`.

use crate::support::reference;
use std::sync::Arc;

use crate::support::reference::{assert_close, difference, f64s, seed, summary_deviation, u8s, vectors};
use candle_core::{DType, Device, Tensor};
use models::unet::projection;
use train::network::kernels::{Cpu, Kernels, Reference};
use train::network::{Mode, Network};
use train::optimizer::{RAdam, Rate};
use train::pseudo_labels::PseudoLabels;

#[test]
fn projection_heads_equal_pytorch_s_forward_and_backward() {
    let golden = vectors("projection");
    let seed = seed();
    for (head, inputs, hidden) in [("r1", 16, 16), ("r4", 64, 32)] {
        let kernels: [Arc<dyn Kernels>; 2] = [Arc::new(Cpu::default()), Arc::new(Reference::new(Device::Cpu, DType::F64))];
        for kernels in kernels {
            let graph = projection(head, inputs, hidden, 32);
            let mut network = Network::new(graph.clone(), &reference::weights(seed, &graph), kernels).unwrap();
            let of = |what: &str| &golden[&format!("{head}.{what}")];
            let tape = network.forward(of("tap"), Mode::Train).unwrap();
            let z = network.output(&tape).unwrap().to_dtype(DType::F64).unwrap();
            let norm = z.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
            let unit = z.broadcast_div(&norm).unwrap();
            assert_close(head, &unit, of("z"), 1e-4);
            // Gradient through the normalisation u = z / |z|: (dz - u <u, dz>) / |z|.
            let dunit = of("dz").to_dtype(DType::F64).unwrap();
            let along = (&unit * &dunit).unwrap().sum_keepdim(1).unwrap();
            let dz = (dunit - unit.broadcast_mul(&along).unwrap()).unwrap().broadcast_div(&norm).unwrap();
            let dz = dz.to_dtype(network.kernels().dtype()).unwrap();
            let gradients = network.backward(&tape, Some(&dz), &[], true).unwrap();
            assert_close(head, gradients.image.as_ref().unwrap(), of("dtap"), 1e-4);
            for (name, gradient) in &gradients.parameters {
                let key = name.replace(&format!("projection.{head}."), &format!("{head}.grad."));
                let deviation = summary_deviation(seed, name, &network.export(name, gradient).unwrap(), &golden[&key]);
                assert!(deviation <= 1e-4, "{name}: {deviation:.1e}");
            }
            network.update_running_statistics(&tape, 0.1).unwrap();
            for (name, array) in network.weights().unwrap().iter().filter(|(name, _)| name.contains("running_")) {
                let key = name.replace(&format!("projection.{head}."), &format!("{head}.stat."));
                let deviation = summary_deviation(seed, name, array, &golden[&key]);
                assert!(deviation <= 1e-4, "{name}: {deviation:.1e}");
            }
        }
    }
}

#[test]
fn radam_counts_the_steps_of_each_parameter_and_equals_pytorch_s() {
    let golden = vectors("radam");
    let f32s = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
    for p in ["p0", "p1", "p2", "p3"] {
        let of = |what: &str| &golden[&format!("{p}.{what}")];
        let [lr, decay] = f64s(of("lr_wd"))[..] else { panic!("two numbers") };
        for dtype in [DType::F32, DType::F64] {
            let mut optimizer = RAdam::default();
            let mut value = of("start").copy().unwrap().to_dtype(dtype).unwrap();
            for step in 0..12 {
                if f64s(of("has_grad"))[step] != 0.0 {
                    let gradient = f32s(of("grads")).get(step).unwrap().contiguous().unwrap().to_dtype(dtype).unwrap();
                    value = optimizer.step(p, &value, &gradient, Rate { lr, decay }).unwrap();
                }
                let expected = f64s(&of("after_decay_always").get(step).unwrap());
                for (found, expected) in f64s(&value).iter().zip(expected) {
                    let allowed = if dtype == DType::F32 { 2e-6 } else { 1e-12 };
                    assert!((found - expected).abs() <= allowed * expected.abs().max(lr), "{p} step {step}: {found} instead of {expected}");
                }
            }
        }
    }
}

#[test]
fn averaged_predictions_and_pseudo_labels_equal_the_golden_vectors_in_both_variants() {
    let golden = vectors("ema");
    for set in ["dsb", "monuseg"] {
        let of = |what: &str| &golden[&format!("{set}.{what}")];
        let [alpha, threshold] = f64s(of("a_t"))[..] else { panic!("two numbers") };
        let plain = PseudoLabels { alpha: alpha as f32, threshold: threshold as f32, corrected: false };
        let corrected = PseudoLabels { corrected: true, ..plain };
        let scribbles = u8s(&golden["scribbles"]);
        let mut average = vec![0.0f32; 256];
        for update in 0..of("p").dim(0).unwrap() {
            let row = |what: &str| of(what).get(update).unwrap();
            let p: Vec<f32> = row("p").flatten_all().unwrap().to_vec1().unwrap();
            plain.update(&mut average, &p);
            let k = update as u32 + 1;
            let check = |found: Vec<f64>, expected: Tensor| assert!(difference(&found, &f64s(&expected)).0 <= 1e-6, "{set} update {k}");
            check(average.iter().map(|v| f64::from(*v)).collect(), row("w"));
            check(average.iter().map(|v| f64::from(corrected.bias_corrected(*v, k))).collect(), row("corrected"));
            assert_eq!(plain.labels(&average, &scribbles, k), u8s(&row("labels")), "{set} update {k}");
            assert_eq!(corrected.labels(&average, &scribbles, k), u8s(&row("labels_corrected")), "{set} update {k}");
        }
    }
    let edge: Vec<f32> = golden["edge.w"].to_vec1().unwrap();
    let strict = PseudoLabels { alpha: 0.2, threshold: 0.75, corrected: false };
    assert_eq!(strict.labels(&edge, &vec![train::loss::IGNORE; edge.len()], 1), u8s(&golden["edge.labels"]));
}

#[test]
fn bias_corrected_averages_give_no_pseudo_labels_before_the_first_update() {
    let corrected = PseudoLabels { alpha: 0.2, threshold: 0.8, corrected: true };
    assert_eq!(corrected.labels(&[0.0, 0.0], &[train::loss::IGNORE; 2], 0), [train::loss::IGNORE; 2]);
}

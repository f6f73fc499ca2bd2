//! Fused parts of a training step on CUDA kernels, emulated or on a GPU (see `cuda_kernels.rs`), against the CPU path.

use std::sync::Arc;

use crate::support::devices::devices;
use crate::support::reference::{assert_close, difference, f64s, u, vectors};
use candle_core::{DType, Device, Tensor};
use models::unet::unet;
use models::weights::Weights;
use train::config::{MaxPerClass, PairRule, Reduction, RunConfig, Scope};
use train::loss::{Contrast, IGNORE, Sampling, contrast_of_features, contrast_on, cross_entropies};
use train::network::kernels::{Cpu, Kernels};
use train::network::{Network, initial_weights};
use train::optimizer::{ParameterGradient, RAdam, Rate};
use train::rng::CounterRng;
use train::step::{Batch, Losses, Stage, Trainer};

fn map(name: &str, shape: [usize; 4]) -> Tensor {
    let values: Vec<f32> = u(5, name, shape.iter().product()).into_iter().map(|v| v as f32).collect();
    Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap()
}

#[test]
fn cross_entropy_of_one_and_two_logit_planes_equals_the_cpu_result() {
    devices(DType::F32).into_iter().for_each(|(_, kernels)| assert_cross_entropies(&*kernels));
}

fn assert_cross_entropies(kernels: &dyn Kernels) {
    let logits = (map("logits", [2, 2, 40, 56]) * 12.0).unwrap();
    let labels = |skip: usize| -> Vec<u8> { (0..2 * 40 * 56).map(|i| if i % skip == 0 { (i / 7 % 2) as u8 } else { IGNORE }).collect() };
    let (a, b, none) = (labels(3), labels(2), vec![IGNORE; 2 * 40 * 56]);
    for planes in [vec![(&a[..], 1.0)], vec![(&a[..], 1.0), (&b[..], 0.5)], vec![(&none[..], 1.0), (&b[..], 2.0)]] {
        let (exact, exact_gradient) = cross_entropies(&Cpu::default(), &logits, &planes).unwrap();
        let (found, gradient) = cross_entropies(kernels, &logits.to_device(kernels.device()).unwrap(), &planes).unwrap();
        for (found, exact) in found.iter().zip(&exact) {
            let (found, exact) = (found.read().unwrap(), exact.read().unwrap());
            assert!((found - exact).abs() <= 1e-6 * exact.max(1.0), "{found} instead of {exact}");
        }
        assert_close("gradient", &gradient, &exact_gradient, 1e-6);
    }
}

#[test]
fn the_contrastive_term_of_every_pair_rule_equals_the_cpu_result() {
    devices(DType::F32).into_iter().for_each(|(_, kernels)| assert_every_rule(&*kernels));
}

fn assert_every_rule(kernels: &dyn Kernels) {
    for (channels, scope, max_per_class) in [
        (7, Scope::Batch, MaxPerClass::Limit(400)),
        (32, Scope::Image, MaxPerClass::Limit(150)),
        (50, Scope::Batch, MaxPerClass::Limit(90)),
    ] {
        let z = map("z", [2, channels, 24, 32]);
        let labels: Vec<u8> = (0..2 * 24 * 32).map(|i| [0, 1, 1, IGNORE, 0][i * 7 % 5]).collect();
        let sampling = Sampling { max_per_class, scope };
        for (pair_rule, reduction, self_pairs) in
            [(PairRule::Same, Reduction::Sum3, false), (PairRule::And, Reduction::PairMean, true), (PairRule::Or, Reduction::Sum3, false)]
        {
            let contrast = Contrast { tau: 0.1, pair_rule, reduction, self_pairs };
            let draw = || CounterRng::new(1, "test", 0, 0, 0);
            let exact = contrast_of_features(&contrast, &z, &labels, sampling, 3.0, &mut draw()).unwrap();
            let z = z.to_device(kernels.device()).unwrap();
            let (found, gradient) = contrast_on(kernels, &contrast, &z, &labels, sampling, 3.0, &mut draw()).unwrap();
            let found = found.read().unwrap();
            assert!((found - exact.value).abs() <= 1e-5 * exact.value, "{channels} {pair_rule:?}: {found} instead of {}", exact.value);
            assert_close("gradient", &gradient, &exact.gradient, 2e-5);
        }
    }
}

#[test]
fn the_contrastive_term_supports_wide_vectors_and_classes_without_pairs() {
    devices(DType::F32).into_iter().for_each(|(_, kernels)| assert_wide_vectors_and_classes_without_pairs(&*kernels));
}

fn assert_wide_vectors_and_classes_without_pairs(kernels: &dyn Kernels) {
    let contrast = Contrast { tau: 0.3, pair_rule: PairRule::Same, reduction: Reduction::Sum3, self_pairs: false };
    let sampling = Sampling { max_per_class: MaxPerClass::Limit(50), scope: Scope::Batch };
    let z = map("z", [1, 80, 8, 8]);
    let of = |labels: &[u8], z: &Tensor| {
        let z = z.to_device(kernels.device()).unwrap();
        contrast_on(kernels, &contrast, &z, labels, sampling, 1.0, &mut CounterRng::new(1, "test", 0, 0, 0)).unwrap()
    };
    let labels: Vec<u8> = (0..64).map(|i| (i % 2) as u8).collect();
    assert!(of(&labels, &z).0.read().unwrap() > 0.0);
    let (value, gradient) = of(&[IGNORE; 64], &map("z", [1, 16, 8, 8]));
    assert_eq!(value.read().unwrap(), 0.0);
    assert!(f64s(&gradient).iter().all(|v| *v == 0.0));
}

#[test]
fn one_radam_launch_updates_many_parameters_like_the_cpu() {
    for feature_dtype in [DType::F32, DType::BF16] {
        devices(feature_dtype).into_iter().for_each(|(_, kernels)| assert_radam(&*kernels));
    }
}

fn assert_radam(kernels: &dyn Kernels) {
    let golden = vectors("radam");
    let names = ["p0", "p1", "p2", "p3"];
    let of = |p: &str, what: &str| &golden[&format!("{p}.{what}")];
    let mut optimizer = RAdam::default();
    let values = names.iter().map(|p| of(p, "start").to_dtype(DType::F32).unwrap().copy().unwrap());
    let values: Vec<Tensor> = values.map(|value| value.to_device(kernels.device()).unwrap()).collect();
    for step in 0..12 {
        let gradient = |p: &str| of(p, "grads").get(step).unwrap().contiguous().unwrap().to_dtype(DType::F32).unwrap();
        let gradients: Vec<Tensor> = names.iter().map(|p| gradient(p).to_device(kernels.device()).unwrap()).collect();
        let mut parts = Vec::new();
        for (i, p) in names.iter().enumerate().filter(|(_, p)| f64s(of(p, "has_grad"))[step] != 0.0) {
            let [lr, decay] = f64s(of(p, "lr_wd"))[..] else { panic!("two numbers") };
            let (parameter, gradient, count) = (&values[i], &gradients[i], values[i].elem_count());
            parts.push(ParameterGradient { name: p, parameter, gradient, count, rate: Rate { lr, decay } });
        }
        optimizer.step_fused(kernels.fused().unwrap(), &parts).unwrap();
        for (value, p) in values.iter().zip(names) {
            let [lr, _] = f64s(of(p, "lr_wd"))[..] else { panic!("two numbers") };
            for (found, expected) in f64s(value).iter().zip(f64s(&of(p, "after_decay_always").get(step).unwrap())) {
                assert!((found - expected).abs() <= 2e-6 * expected.abs().max(lr), "{p} step {step}: {found} instead of {expected}");
            }
        }
    }
}

fn small_config(sets: &[&str]) -> RunConfig {
    let sets: Vec<&str> =
        ["method.name=both", "method.max_per_class=300", "network.encoder_width=8", "network.decoder_channels=[16,8,8,8,16]"]
            .iter()
            .chain(sets)
            .copied()
            .collect();
    RunConfig::from_toml("", train::config::Profile::Scratch, &sets).unwrap()
}

/// Trains four steps with all loss terms; returns the losses of each step, and the weights and their averages after the last one.
fn trained(config: &RunConfig, kernels: &Arc<dyn Kernels>) -> Trained {
    let (mut trainer, _) = Trainer::new(config, &Weights::new(), kernels).unwrap();
    let mut losses = Vec::new();
    for step in 0..4u32 {
        let image = map(&format!("image {step}"), [2, 3, 64, 64]);
        let scribble: Vec<u8> = (0..2 * 64 * 64).map(|i| [0, 1, IGNORE, IGNORE][i / 48 % 4]).collect();
        let average: Vec<f32> = u(5, "average", 2 * 64 * 64).iter().map(|v| (0.5 + 0.5 * v) as f32).collect();
        let batch =
            Batch { image: kernels.fused().map_or(image.clone(), |fused| fused.stage(&image).unwrap()), scribble, average, updates: 9 };
        let stage = if step == 0 { Stage::WarmUp } else { Stage::Full };
        losses.push(trainer.step(&batch, stage, 1.0, &mut CounterRng::new(0, "test", 0, u64::from(step), 0)).unwrap());
    }
    (losses, trainer.network.weights().unwrap(), trainer.evaluated().weights().unwrap())
}

#[test]
fn steps_with_every_loss_term_follow_the_cpu() {
    let config = small_config(&["optimizer.weight_average=0.9"]);
    let exact = trained(&config, &(Arc::new(Cpu::default()) as Arc<dyn Kernels>));
    for (feature_dtype, of_losses, of_weights) in [(DType::F32, 2e-4, 2e-3), (DType::BF16, 5e-2, 1e-1)] {
        for (device, kernels) in devices(feature_dtype) {
            assert_same_steps(&device, &trained(&config, &kernels), &exact, of_losses, of_weights);
        }
    }
}

type Trained = (Vec<Losses>, Weights, Weights);

fn assert_same_steps(device: &str, found: &Trained, exact: &Trained, of_losses: f64, of_weights: f64) {
    for (found, exact) in found.0.iter().zip(&exact.0) {
        let terms = |l: &Losses| [vec![l.total, l.scribble, l.pseudo], l.contrast.iter().map(|(_, v)| *v).collect()].concat();
        for (found, exact) in terms(found).into_iter().zip(terms(exact)) {
            assert!((found - exact).abs() <= of_losses * exact.abs().max(0.1), "{device}: {found} instead of {exact}");
        }
    }
    for (found, exact) in [(&found.1, &exact.1), (&found.2, &exact.2)] {
        for (name, exact) in exact {
            let doubles = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
            let (worst, scale) = difference(&doubles(&found[name].data), &doubles(&exact.data));
            assert!(worst <= of_weights * scale.max(0.1), "{device} {name}: {worst:.1e} of {scale:.1e}");
        }
    }
}

/// Exporters compare with the parity reference of a checkpoint, so its probabilities have f32 precision even if feature maps are in bf16.
#[test]
fn the_parity_reference_of_a_checkpoint_has_f32_precision() {
    let graph = unet(&small_config(&[]).network);
    let weights = initial_weights(&graph, 1);
    let of = |kernels: Arc<dyn Kernels>| train::parity_reference::arrays(&Network::new(graph.clone(), &weights, kernels).unwrap()).unwrap();
    let exact = of(Arc::new(Cpu::default()));
    for feature_dtype in [DType::F32, DType::BF16] {
        for (device, kernels) in devices(feature_dtype) {
            let (found, exact) =
                (&of(kernels)[train::parity_reference::PROBABILITY].data, &exact[train::parity_reference::PROBABILITY].data);
            assert!(found.iter().zip(exact).all(|(f, e)| (f - e).abs() <= 1e-4), "{device}");
        }
    }
}

//! Data-parallel steps on several ranks, here threads on the CPU or on the emulator of the CUDA kernels: averaged gradients and equal
//! weights; and NCCL against averaging in host memory.

use crate::support::devices;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use models::weights::Weights;
use train::config::{Profile, RunConfig};
use train::loss::{IGNORE, cross_entropies};
use train::network::Mode;
use train::network::kernels::{Cpu, Kernels};
use train::optimizer::{RAdam, Rate};
use train::parallel::{Communicator, HostCommunicator};
use train::rng::CounterRng;
use train::step::{Batch, Losses, Stage, Trainer};

const SIDE: usize = 32;

pub fn config(sets: &[&str]) -> RunConfig {
    let text = "[network]\nencoder_width = 8\ndecoder_channels = [16, 16, 8, 8, 8]\n[method]\nname = \"both\"\n";
    RunConfig::from_toml(text, Profile::Scratch, sets).unwrap()
}

/// Returns half a batch: two random images that depend on `seed`, labelled in the first `scribbled` rows.
fn half(seed: u64, scribbled: usize) -> Batch {
    let mut draw = CounterRng::new(seed, "half", 0, 0, 0);
    let image: Vec<f32> = (0..2 * 3 * SIDE * SIDE).map(|_| draw.normal() as f32).collect();
    let label = |i: usize| if i % (SIDE * SIDE) / SIDE < scribbled { u8::from((i / 8).is_multiple_of(2)) } else { IGNORE };
    let scribble = (0..2 * SIDE * SIDE).map(label).collect();
    let average = (0..2 * SIDE * SIDE).map(|_| draw.uniform_f32()).collect();
    // After one update with alpha = .2 the bias correction would multiply averages by five; 40 updates leave them nearly unchanged.
    let image = Tensor::from_vec(image, (2, 3, SIDE, SIDE), &Device::Cpu).unwrap();
    Batch { image, scribble, average, updates: 40 }
}

/// Returns the weights of the network and of the projection heads.
fn weights(trainer: &Trainer) -> Weights {
    let heads = trainer.heads.iter().map(|head| head.network.weights().unwrap());
    heads.fold(trainer.network.weights().unwrap(), |mut all, head| {
        all.extend(head);
        all
    })
}

/// Runs `steps` steps on two ranks with `batches(rank, step)`; returns losses and weights of each rank.
fn run_two_ranks(
    config: &RunConfig,
    kernels: [Arc<dyn Kernels>; 2],
    steps: u64,
    batches: impl Fn(usize, u64) -> Batch + Sync,
) -> Vec<(Vec<Losses>, Weights)> {
    let (first, _) = Trainer::new(config, &Weights::new(), &kernels[0]).unwrap();
    std::thread::scope(|scope| {
        let start = |(group, kernels): (HostCommunicator, Arc<dyn Kernels>)| {
            let (mut trainer, batches) = (first.replica(&kernels).unwrap(), &batches);
            scope.spawn(move || {
                let rank = group.rank();
                trainer.join(Arc::new(group));
                let step = |step| {
                    let draw = &mut CounterRng::new(0, "test", 0, step, 0);
                    trainer.step(&batches(rank, step), Stage::Full, 1.0, draw).unwrap()
                };
                let losses = (0..steps).map(step).collect();
                (losses, weights(&trainer))
            })
        };
        let threads: Vec<_> = HostCommunicator::ranks(2).into_iter().zip(kernels).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn cpus() -> [Arc<dyn Kernels>; 2] {
    [Arc::new(Cpu::default()), Arc::new(Cpu::default())]
}

#[test]
fn two_ranks_minimise_the_mean_loss_of_their_halves() {
    let config = config(&["method.name=pce"]);
    let halves = [half(1, 12), half(2, 20)];
    let found = run_two_ranks(&config, cpus(), 1, |rank, _| half(rank as u64 + 1, [12, 20][rank]));
    // The expected weights are computed without ranks: gradients of both halves, each with its own batch statistics, their mean, and one
    // step of the optimiser.
    let (mut trainer, _) = Trainer::new(&config, &Weights::new(), &cpus()[0]).unwrap();
    let (mut gradients, mut tapes, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    for half in &halves {
        let tape = trainer.network.forward(&half.image, Mode::Train).unwrap();
        let logits = trainer.network.output(&tape).unwrap();
        let (values, gradient) = cross_entropies(&**trainer.network.kernels(), &logits, &[(&half.scribble, 1.0)]).unwrap();
        losses.push(values[0].read().unwrap());
        gradients.push(trainer.network.backward(&tape, Some(&gradient), &[], false).unwrap().parameters);
        tapes.push(tape);
    }
    let mean = |a: &Tensor, b: &Tensor| -> Vec<f64> {
        let f64s = |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        f64s(a).iter().zip(f64s(b)).map(|(a, b)| f64::midpoint(*a, b)).collect()
    };
    let mut optimizer = RAdam::default();
    for (name, gradient) in &gradients[0] {
        let values: Vec<f32> = mean(gradient, &gradients[1][name]).into_iter().map(|v| v as f32).collect();
        let gradient = Tensor::from_vec(values, gradient.shape(), &Device::Cpu).unwrap();
        let (lr, decay) = config.optimizer.rate(name, 1.0);
        let value = optimizer.step(name, &trainer.network.parameters()[name], &gradient, Rate { lr, decay }).unwrap();
        trainer.network.set(name, value);
    }
    let exact = weights(&trainer);
    for (losses_of, weights) in &found {
        assert_eq!(losses_of[0].total, f64::midpoint(losses[0], losses[1]));
        for (name, array) in weights.iter().filter(|(name, _)| !name.contains("running_")) {
            assert!(array.data == exact[name].data, "{name}");
        }
        // Running statistics follow the mean of the statistics of both halves.
        let of = |suffix: &str| &weights[&format!("encoder.bn1.{suffix}")].data;
        let moments: Vec<_> = tapes.iter().map(|tape| tape.moments().next().unwrap().1).collect();
        let means = mean(&moments[0].mean, &moments[1].mean);
        assert!(of("running_mean").iter().zip(means).all(|(found, mean)| (f64::from(*found) - 0.1 * mean).abs() < 1e-6));
        let pixels = (2 * SIDE / 2 * SIDE / 2) as f64;
        let variances = mean(&moments[0].variance, &moments[1].variance);
        let follows = |(found, variance): (&f32, f64)| (f64::from(*found) - 0.9 - 0.1 * variance * pixels / (pixels - 1.0)).abs() < 1e-5;
        assert!(of("running_var").iter().zip(variances).all(follows));
    }
}

#[test]
fn two_ranks_with_equal_batches_compute_the_step_of_one_rank() {
    let config = config(&[]);
    let found = run_two_ranks(&config, cpus(), 3, |_, step| half(step, 20));
    let (mut trainer, _) = Trainer::new(&config, &Weights::new(), &cpus()[0]).unwrap();
    let step = |step| trainer.step(&half(step, 20), Stage::Full, 1.0, &mut CounterRng::new(0, "test", 0, step, 0)).unwrap();
    let losses: Vec<Losses> = (0..3).map(step).collect();
    assert!(losses.iter().all(|loss| loss.contrast.iter().all(|(_, value)| *value > 0.0)), "both terms are there: {losses:?}");
    for found in found {
        assert!(found == (losses.clone(), weights(&trainer)));
    }
}

#[test]
fn ranks_stay_equal_and_repeat_their_bits_if_one_has_no_contrastive_term() {
    // The second rank never has enough labelled vectors for a contrastive term, and the first rank has too few in the first step.
    let batches = |rank: usize, step: u64| half(2 * step + rank as u64, if rank == 0 && step > 0 { 20 } else { 0 });
    let config = config(&["method.label_source=scribble_only"]);
    let mut tried: Vec<[Arc<dyn Kernels>; 2]> = vec![cpus()];
    for feature_dtype in [DType::F32, DType::BF16] {
        let mut of_each = [devices::devices(feature_dtype), devices::devices(feature_dtype)].map(Vec::into_iter);
        tried.extend(of_each[0].next().zip(of_each[1].next()).map(|((_, a), (_, b))| [a, b]));
    }
    for kernels in tried {
        let run = || run_two_ranks(&config, kernels.clone(), 3, batches);
        let found = run();
        assert!(found[0] == found[1], "ranks end alike");
        assert!(found == run(), "and again");
        let terms: Vec<bool> = found[0].0.iter().map(|losses| losses.contrast.iter().any(|(_, value)| *value > 0.0)).collect();
        assert_eq!(terms, [false, true, true]);
        assert!(found[0].0.iter().all(|losses| losses.total.is_finite()));
    }
}

/// Averages by NCCL equal averages in host memory.
#[cfg(feature = "nccl")]
#[test]
fn averages_by_nccl_equal_averages_in_host_memory() {
    use train::network::device::{Rank, ranks};
    use train::network::kernels::cuda::Gpu;
    if Gpu::count().unwrap_or(0) < 2 {
        eprintln!("SKIPPED: averages of several GPUs are not compared: fewer than two GPUs");
        return;
    }
    let config = config(&["run.device=cuda", "run.devices=2", "run.precision=f32", "run.deterministic=true"]);
    let exact = run_two_ranks(&config, cpus(), 2, |rank, step| half(2 * step + rank as u64, 20));
    let ranks = ranks(&config.run).unwrap();
    let (first, _) = Trainer::new(&config, &Weights::new(), &ranks[0].kernels).unwrap();
    let found: Vec<(Vec<Losses>, Weights)> = std::thread::scope(|scope| {
        let start = |rank: Rank| {
            let mut trainer = first.replica(&rank.kernels).unwrap();
            scope.spawn(move || {
                let number = rank.communicator.rank() as u64;
                trainer.join(rank.communicator);
                let step = |step| {
                    trainer.step(&half(2 * step + number, 20), Stage::Full, 1.0, &mut CounterRng::new(0, "test", 0, step, 0)).unwrap()
                };
                let losses = (0..2).map(step).collect();
                (losses, weights(&trainer))
            })
        };
        let threads: Vec<_> = ranks.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found[0] == found[1], "ranks end alike");
    for (found, exact) in found[0].0.iter().zip(&exact[0].0) {
        assert!((found.total - exact.total).abs() <= 2e-4 * exact.total, "{found:?} instead of {exact:?}");
    }
}

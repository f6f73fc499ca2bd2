//! Seconds of a training step of the default network, batch 4, 256 x 256, and of a contrastive term with 6000 vectors a class.
//!
//! `cargo bench -p train --bench step`; figures belong into `docs/speed.md` with the machine they were measured on.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor};
use train::config::{MaxPerClass, RunConfig, Scope};
use train::loss::{Contrast, Sampling, contrast_of_maps};
use train::network::Mode;
use train::network::kernels::{Cpu, Kernels};
use train::rng::Draw;
use train::step::{Batch, Stage, Trainer};

const REPEATS: usize = 6;

fn time(what: &str, mut work: impl FnMut()) {
    work();
    let mut seconds: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    println!("{what:<40} min {:.3} s, median {:.3} s", seconds[0], seconds[REPEATS / 2]);
}

fn random(name: &str, count: usize) -> Vec<f32> {
    let mut draw = Draw::new(1, name, 0, 0, 0);
    (0..count).map(|_| draw.normal() as f32).collect()
}

/// What a plain matrix product reaches here: the roof under which convolutions are to be read.
fn peak() {
    let n = 1536;
    let (a, b, mut c) = (random("a", n * n), random("b", n * n), vec![0.0f32; n * n]);
    let threads = rayon::current_num_threads();
    let mut product = || {
        // SAFETY: strides and sizes are those of the three n x n matrices.
        unsafe {
            let stride = n as isize;
            let parallel = gemm::Parallelism::Rayon(threads);
            gemm::gemm(
                n,
                n,
                n,
                c.as_mut_ptr(),
                1,
                stride,
                false,
                a.as_ptr(),
                1,
                stride,
                b.as_ptr(),
                1,
                stride,
                0.0f32,
                1.0f32,
                false,
                false,
                false,
                parallel,
            );
        }
    };
    time(&format!("matrix product, {:.2} GFLOP", 2.0 * (n as f64).powi(3) / 1e9), &mut product);
}

fn main() {
    peak();
    let (batch, side) = (4, 256);
    let kernels: Arc<dyn Kernels> = Arc::new(Cpu::default());
    let config = RunConfig::default();
    let (mut trainer, _) = Trainer::new(&config, &models::weights::Weights::new(), &kernels).unwrap();
    let image = Tensor::from_vec(random("image", batch * 3 * side * side), (batch, 3, side, side), &Device::Cpu).unwrap();
    let pixels = batch * side * side;
    let scribble = (0..pixels).map(|i| [0, 1, 250, 250][i / 64 % 4]).collect();
    let crops = Batch { image: image.clone(), scribble, average: vec![0.5; pixels], updates: 0 };
    println!("{} threads, {:?}", rayon::current_num_threads(), Cpu::default().isa());
    time("forward", || drop(trainer.network.forward(&image, Mode::Train).unwrap()));
    let tape = trainer.network.forward(&image, Mode::Train).unwrap();
    let gradient = trainer.network.output(&tape).unwrap();
    time("backward", || drop(trainer.network.backward(&tape, Some(&gradient), &[], false).unwrap()));
    drop(tape);
    let mut draw = Draw::new(1, "bench", 0, 0, 0);
    time("step, warm-up (scribbles)", || drop(trainer.step(&crops, Stage::WarmUp, 1.0, &mut draw).unwrap()));
    time("step, both contrastive terms", || drop(trainer.step(&crops, Stage::Full, 1.0, &mut draw).unwrap()));
    let z = Tensor::from_vec(random("z", 32 * pixels), (batch, 32, side, side), &Device::Cpu).unwrap();
    let labels: Vec<u8> = (0..pixels).map(|i| (i % 2) as u8).collect();
    let contrast = Contrast { tau: 0.3, pair_rule: config.method.pair_rule, reduction: config.method.reduction, self_pairs: false };
    let sampling = Sampling { max_per_class: MaxPerClass::Limit(6000), scope: Scope::Batch };
    time("contrastive term, 6000 a class", || drop(contrast_of_maps(&contrast, &z, &labels, sampling, &mut draw).unwrap()));
}

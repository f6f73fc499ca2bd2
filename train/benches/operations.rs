//! Speed of every operation shape of the default network at batch 4, 256 x 256, beside the machine's peak: GFLOP/s beside those of a matrix
//! product, GB/s beside those of a copy.
//!
//! `cargo bench -p train --bench operations [-- --precision bf16]`. GFLOP/s count the multiplications of the definition, so algorithms with
//! fewer multiplications (Winograd) can exceed the peak.

use std::time::Instant;

use candle_core::{Device, Tensor};
use models::graph::Conv;
use train::network::kernels::{Activation, Bf16Isa, Cpu, Kernels, Norm, SavedNorm, Source};
use train::rng::CounterRng;

const BATCH: usize = 4;
const REPEATS: usize = 5;

/// Returns the shortest of [`REPEATS`] runs after a warm-up run, in seconds.
fn best(mut work: impl FnMut()) -> f64 {
    work();
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..REPEATS).map(once).fold(f64::INFINITY, f64::min)
}

fn random(name: &str, shape: &[usize]) -> Tensor {
    let mut rng = CounterRng::new(1, name, 0, 0, 0);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Measures the GFLOP/s of a matrix product on all threads.
fn peak_flops() -> f64 {
    let n = 1536;
    let (a, b) = (random("a", &[n, n]), random("b", &[n, n]));
    2e-9 * (n as f64).powi(3) / best(|| drop(a.matmul(&b).unwrap()))
}

/// Measures the GB/s, read plus written, of a copy larger than the caches.
fn peak_bandwidth() -> f64 {
    use rayon::prelude::*;
    let n = 1 << 26;
    let (from, mut to) = (vec![1.0f32; n], vec![0.0f32; n]);
    let seconds = best(|| to.par_chunks_mut(1 << 18).zip(from.par_chunks(1 << 18)).for_each(|(to, from)| to.copy_from_slice(from)));
    8e-9 * n as f64 / seconds
}

fn feature(kernels: &Cpu, name: &str, channels: usize, side: usize) -> Tensor {
    kernels.import_feature(&random(name, &[BATCH, channels, side, side])).unwrap()
}

/// Name, input channels, output channels, kernel, stride, input side in pixels, and number of occurrences in the network.
const CONVOLUTIONS: [(&str, [usize; 6]); 16] = [
    ("encoder.conv1", [3, 64, 7, 2, 256, 1]),
    ("encoder.layer1", [64, 64, 3, 1, 64, 6]),
    ("encoder.layer2.0.conv1", [64, 128, 3, 2, 64, 1]),
    ("encoder.layer2", [128, 128, 3, 1, 32, 7]),
    ("encoder.layer2.0.downsample", [64, 128, 1, 2, 64, 1]),
    ("encoder.layer3.0.conv1", [128, 256, 3, 2, 32, 1]),
    ("encoder.layer3", [256, 256, 3, 1, 16, 11]),
    ("encoder.layer4.0.conv1", [256, 512, 3, 2, 16, 1]),
    ("encoder.layer4", [512, 512, 3, 1, 8, 5]),
    ("decoder.blocks.0.conv1", [768, 256, 3, 1, 16, 1]),
    ("decoder.blocks.1.conv1", [384, 128, 3, 1, 32, 1]),
    ("decoder.blocks.2.conv1", [192, 64, 3, 1, 64, 1]),
    ("decoder.blocks.3.conv1", [128, 32, 3, 1, 128, 1]),
    ("decoder.blocks.4.conv1", [32, 16, 3, 1, 256, 1]),
    ("decoder.blocks.4.conv2", [16, 16, 3, 1, 256, 1]),
    ("segmentation_head", [16, 2, 1, 1, 256, 1]),
];

fn convolutions(kernels: &Cpu) {
    println!("{:<30} {:>4} {:>24} {:>24}", "convolution", "", "forward ms (GFLOP/s)", "backward ms (GFLOP/s)");
    for (name, [inputs, outputs, kernel, stride, side, count]) in CONVOLUTIONS {
        let conv = Conv { inputs, outputs, kernel, stride, bias: false };
        let x = feature(kernels, "x", inputs, side);
        let dy = feature(kernels, "dy", outputs, side / stride);
        let weight = kernels.import_weight(&conv, &random("w", &[outputs, inputs, kernel, kernel])).unwrap();
        let forward = best(|| kernels.recycle(&kernels.conv(&conv, Source::FeatureMap(&x), &weight, None).unwrap()));
        let wants_dx = inputs != 3;
        let backward = best(|| {
            let g = kernels.conv_backward(&conv, Source::FeatureMap(&x), &weight, &dy, wants_dx).unwrap();
            g.dx.iter().chain(&g.dskip).chain([&g.dweight]).for_each(|tensor| kernels.recycle(tensor));
        });
        let flop = 2e-9 * (BATCH * (side / stride).pow(2) * outputs * inputs * kernel * kernel) as f64;
        let passes = if wants_dx { 2.0 } else { 1.0 };
        println!(
            "{name:<30} x{count:<3} {:>12.2} ({:>6.0}) {:>15.2} ({:>6.0})",
            forward * 1e3,
            flop / forward,
            backward * 1e3,
            passes * flop / backward
        );
    }
}

fn norms(kernels: &Cpu) {
    println!("{:<30} {:>4} {:>16} {:>16} {:>16}   ms (GB/s)", "normalisation and ReLU", "", "moments", "forward", "backward");
    for (channels, side, count) in [(64, 128, 1), (64, 64, 8), (128, 32, 11), (256, 16, 15), (512, 8, 7), (32, 128, 2), (16, 256, 2)] {
        let (x, dy) = (feature(kernels, "x", channels, side), feature(kernels, "dy", channels, side));
        let (scale, shift) = (random("scale", &[channels]), random("shift", &[channels]));
        let norm = Norm { scale: &scale, shift: &shift, eps: 1e-5, activation: Activation::Relu };
        let moments = kernels.moments(&x).unwrap();
        let y = kernels.norm(norm, &x, None, &moments).unwrap();
        let at = SavedNorm { x: &x, y: Some(&y), moments: &moments, batch_statistics: true, wants_dresidual: false };
        let seconds = [
            best(|| drop(kernels.moments(&x).unwrap())),
            best(|| kernels.recycle(&kernels.norm(norm, &x, None, &moments).unwrap())),
            best(|| kernels.recycle(&kernels.norm_backward(norm, at, &dy).unwrap().dx)),
        ];
        // Feature maps read and written: x for the moments; x and y forward; x and dy twice, and dx, backward.
        let gigabytes = [1.0, 2.0, 5.0].map(|maps| maps * 4e-9 * x.elem_count() as f64);
        let column = |i: usize| format!("{:.2} ({:.0})", seconds[i] * 1e3, gigabytes[i] / seconds[i]);
        println!(
            "{:<30} x{count:<3} {:>16} {:>16} {:>16}",
            format!("{channels} channels, {side} x {side}"),
            column(0),
            column(1),
            column(2)
        );
    }
}

fn main() {
    let bf16 = std::env::args().any(|argument| argument == "bf16");
    let kernels = if bf16 { Cpu::default().in_bf16(Bf16Isa::best().0) } else { Cpu::default() };
    let unit = kernels.bf16().map_or(String::new(), |unit| format!(", convolutions in bf16 on {}", unit.name()));
    println!("{} threads, {:?}{unit}", rayon::current_num_threads(), kernels.isa());
    println!("peak: {:.0} GFLOP/s in a matrix product, {:.0} GB/s in a copy", peak_flops(), peak_bandwidth());
    convolutions(&kernels);
    norms(&kernels);
}

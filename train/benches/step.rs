//! Duration of a training step of the default network at 256 x 256, and of a contrastive term with 6000 vectors per class.
//!
//! `cargo bench -p train --bench step -- [--batch 4] [--threads 2] [--repeats 8] [--only step] [--device cpu] [--precision auto] [--encoder
//! mobilenet_v2]`. Results are listed in `docs/lab/training-speed.md` with their machine. `--only step` prints the line that `benches/peer/compare.sh`
//! reads. A GPU needs `--features cuda` and `--device cuda`.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{Device, Tensor};
use train::config::{MaxPerClass, Profile, RunConfig, Scope};
use train::loss::{Contrast, Sampling, contrast_of_features};
use train::network::Mode;
use train::network::device;
use train::network::kernels::{Cpu, Kernels};
use train::rng::CounterRng;
use train::step::{Batch, Stage, Trainer};

const SIDE: usize = 256;

/// Returns the value after `name` on the command line, if it is given.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn number(name: &str, default: usize) -> usize {
    argument(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} expects a number, found {value:?}")))
}

/// Returns the duration of each repeat after a warm-up run, in seconds, sorted.
fn seconds(repeats: usize, mut work: impl FnMut()) -> Vec<f64> {
    work();
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    let mut all: Vec<f64> = (0..repeats).map(once).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn time(what: &str, repeats: usize, work: impl FnMut()) {
    let all = seconds(repeats, work);
    println!("{what:<40} min {:.4} s, median {:.4} s", all[0], all[repeats / 2]);
}

/// Returns the peak memory of a GPU's tensors in MiB.
#[cfg(feature = "cuda")]
fn peak_on_device(device: &Device) -> Option<u64> {
    train::network::kernels::cuda::peak_bytes(device).map(|bytes| bytes >> 20)
}

#[cfg(not(feature = "cuda"))]
fn peak_on_device(_: &Device) -> Option<u64> {
    None
}

fn random(name: &str, count: usize) -> Vec<f32> {
    let mut rng = CounterRng::new(1, name, 0, 0, 0);
    (0..count).map(|_| rng.normal() as f32).collect()
}

/// Returns the peak resident memory of this process in MiB, where the system reports it.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// Returns the configuration that the command line selects.
fn config() -> RunConfig {
    let set = |name: &str, default: &str| format!("run.{name}={}", argument(&format!("--{name}")).unwrap_or_else(|| default.into()));
    let encoder = argument("--encoder").unwrap_or_else(|| "resnet34".into());
    let sets = [
        "method.name=both".to_owned(),
        format!("network.encoder={encoder}"),
        set("device", "cpu"),
        set("precision", "auto"),
        set("kernels", "fast"),
        set("deterministic", "false"),
    ];
    RunConfig::from_toml("", Profile::Scratch, &sets).unwrap()
}

/// Creates a trainer of the default network and a batch of random crops, with the image already on the device.
fn trainer(batch: usize) -> (Trainer, Batch) {
    let config = config();
    let kernels: Arc<dyn Kernels> = device::kernels(&config.run).unwrap();
    let (trainer, _) = Trainer::new(&config, &models::weights::Weights::new(), &kernels).unwrap();
    let pixels = batch * SIDE * SIDE;
    let image = Tensor::from_vec(random("image", 3 * pixels), (batch, 3, SIDE, SIDE), &Device::Cpu).unwrap();
    let image = kernels.fused().map_or_else(|| image.clone(), |fused| fused.stage(&image).unwrap());
    let scribble = (0..pixels).map(|i| [0, 1, 250, 250][i / 64 % 4]).collect();
    (trainer, Batch { image, scribble, average: vec![0.5; pixels], updates: 0 })
}

fn contrastive_term(repeats: usize) {
    let pixels = 4 * SIDE * SIDE;
    let method = Profile::Scratch.config().method;
    let z = Tensor::from_vec(random("z", 32 * pixels), (4, 32, SIDE, SIDE), &Device::Cpu).unwrap();
    let labels: Vec<u8> = (0..pixels).map(|i| (i % 2) as u8).collect();
    let contrast = Contrast { tau: 0.3, pair_rule: method.pair_rule, reduction: method.reduction, self_pairs: false };
    let sampling = Sampling { max_per_class: MaxPerClass::Limit(6000), scope: Scope::Batch };
    let mut rng = CounterRng::new(1, "bench", 0, 0, 0);
    time("contrastive term, 6000 a class", repeats, || {
        drop(contrast_of_features(&contrast, &z, &labels, sampling, 1.0, &mut rng).unwrap());
    });
}

fn run(batch: usize, repeats: usize) {
    let (mut trainer, crops) = trainer(batch);
    let mut rng = CounterRng::new(1, "bench", 0, 0, 0);
    let step = seconds(repeats, || drop(trainer.step(&crops, Stage::WarmUp, 1.0, &mut rng).unwrap()));
    let peak = || peak_on_device(trainer.network.device()).or_else(peak_mib).unwrap_or(0);
    println!("step {:.4} median {:.4} peak_mib {}", step[0], step[repeats / 2], peak());
    if argument("--only").as_deref() == Some("step") {
        return;
    }
    println!("batch {batch}, {} threads, {:?}", rayon::current_num_threads(), Cpu::default().isa());
    let wait = |trainer: &Trainer| trainer.network.device().synchronize().unwrap();
    time("forward", repeats, || {
        drop(trainer.network.forward(&crops.image, Mode::Train).unwrap());
        wait(&trainer);
    });
    let tape = trainer.network.forward(&crops.image, Mode::Train).unwrap();
    let gradient = trainer.network.output(&tape).unwrap();
    time("backward", repeats, || {
        drop(trainer.network.backward(&tape, Some(&gradient), &[], false).unwrap());
        wait(&trainer);
    });
    drop(tape);
    time("step, both contrastive terms", repeats, || drop(trainer.step(&crops, Stage::Full, 1.0, &mut rng).unwrap()));
    contrastive_term(repeats);
    println!("peak memory of the benchmark {} MiB", peak_mib().unwrap_or(0));
}

fn main() {
    let threads = number("--threads", 0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| run(number("--batch", 4), number("--repeats", 8)));
}

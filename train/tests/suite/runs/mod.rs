//! Whole runs of a small network on synthetic pictures: outputs, stop and resume, refused input.

#[cfg(target_os = "linux")]
#[path = "../../../../tests/faults.rs"]
mod fault_injection;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod footprint;
mod refused;
mod stopped;
#[cfg(target_os = "linux")]
#[path = "../../../../tests/trace.rs"]
mod trace;

use crate::support::pictures;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::support::pictures::{arrays, config, data_folder};
use models::card::Training;
use models::weights::WeightsFile;
use support::console::Silent;
use train::config::{Profile, RunConfig};
use train::fit::fit;

/// Returns the cross-entropy on training pictures with batch statistics and with running statistics.
fn losses(run: &Path) -> [f64; 2] {
    use candle_core::{Device, Tensor};
    use train::network::{Mode, kernels::Cpu};
    let (network, _) = train::checkpoint::network(&run.join("last.safetensors"), &(std::sync::Arc::new(Cpu::default()) as _)).unwrap();
    let pictures: Vec<_> = (0..6).map(|seed| pictures::picture(64, seed)).collect();
    let images: Vec<Vec<f32>> =
        pictures.iter().map(|(image, _)| train::augment::normalise(image, &models::card::Normalisation::IMAGENET)).collect();
    let truth: Vec<u8> = pictures.iter().flat_map(|(_, labels)| labels.data.iter().map(|&id| u8::from(id > 0))).collect();
    let truth = Tensor::from_vec(truth, (6, 64, 64), &Device::Cpu).unwrap();
    let images = train::step::stack_images(&images, 64).unwrap();
    [Mode::Train, Mode::Eval].map(|mode| {
        let logits = network.output(&network.forward(&images, mode).unwrap()).unwrap();
        train::loss::cross_entropy(&logits, &truth).unwrap().value
    })
}

/// Running statistics of batch normalisation that lag behind the weights spoil evaluation. Recalibrated statistics, of the weights or of
/// averaged weights, do not.
#[test]
fn recalibrated_statistics_keep_evaluation_close_to_training() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    let run = |name: &str, sets: &[&str]| {
        let mut all = vec![
            "method.name=full",
            "optimizer.schedule=constant",
            "optimizer.lr_encoder=0.003",
            "optimizer.lr_head=0.01",
            "run.validate_every=0",
            "run.iterations=10",
            "data.validation_share=0.4",
        ];
        all.extend(sets);
        let out = folder.path().join(name);
        let outcome = fit(&config(&data, &all), &out, false, &Silent, &AtomicBool::new(false)).unwrap();
        (outcome.best.unwrap().0, out)
    };
    let (lagging, with_lag) = run("lag", &["run.recalibrate_batches=0"]);
    let (measured, with_measure) = run("measured", &["run.recalibrate_batches=10"]);
    let (averaged, _) = run("averaged", &["run.recalibrate_batches=10", "optimizer.weight_average=0.9"]);
    let learned = |run: &Path| -> Vec<Vec<f32>> {
        let arrays = arrays(run, "last.safetensors");
        arrays.into_iter().filter(|(name, _)| !name.contains("running_")).map(|(_, array)| array.data).collect()
    };
    assert!(learned(&with_lag) == learned(&with_measure), "the runs differ in their statistics only");
    let gap = |[training, evaluation]: [f64; 2]| (evaluation - training).abs();
    let (lag_gap, measured_gap) = (gap(losses(&with_lag)), gap(losses(&with_measure)));
    eprintln!(
        "IoU: lagging {lagging:.3}, measured {measured:.3}, averaged {averaged:.3}; gap of losses: lagging {lag_gap:.4}, measured {measured_gap:.4}"
    );
    assert!(measured > lagging + 0.15 && averaged > lagging + 0.15, "IoU {lagging:.3}, {measured:.3}, {averaged:.3}");
    assert!(3.0 * measured_gap < lag_gap, "gap of losses {lag_gap:.4}, {measured_gap:.4}");
}

#[test]
fn results_depend_on_the_seed_and_not_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 4);
    let run = |name: &str, sets: &[&str]| {
        let out = folder.path().join(name);
        fit(&config(&data, sets), &out, false, &Silent, &AtomicBool::new(false)).unwrap();
        arrays(&out, "last.safetensors")
    };
    let one = run("one", &["run.threads=1"]);
    assert!(one == run("two", &["run.threads=2"]));
    assert!(one != run("other", &["run.threads=2", "run.seed=5"]));
}

#[test]
fn training_learns_and_writes_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 10);
    let out = folder.path().join("run");
    let config = config(
        &data,
        &[
            "run.iterations=400",
            "run.batch=4",
            "run.recalibrate_batches=8",
            "method.warmup_iterations=200",
            "method.ema_period=20",
            "run.validate_every=40",
            "optimizer.lr_head=0.01",
            "optimizer.lr_encoder=0.003",
            "data.validation_share=0.4",
        ],
    );
    let outcome = fit(&config, &out, false, &Silent, &AtomicBool::new(false)).unwrap();
    let (iou, _) = outcome.best.unwrap();
    assert!(iou > 0.6, "bright discs on a dark background are easy, found IoU {iou:.3}");
    for name in ["config.toml", "log.csv", "last.safetensors", "best.safetensors", "overlays/p0.png", "overlays/p1.png"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    assert!(arrays(&out, "best.safetensors").keys().all(|name| !name.starts_with("projection") && !name.starts_with("optimizer")));
    let file = WeightsFile::read(&out.join("best.safetensors")).unwrap();
    let training: Training = serde_json::from_str(&file.metadata["training"]).unwrap();
    assert_eq!(training.colours.unwrap().grid_tiles, training.images, "small images are a grid tile each");
    let log = std::fs::read_to_string(out.join("log.csv")).unwrap();
    assert_eq!(log.lines().count(), 401);
    assert!(log.lines().nth(400).unwrap().contains("r1 "), "{log}");
    let saved = RunConfig::load(&out.join("config.toml"), Profile::Paper, &[] as &[&str]).unwrap();
    assert_eq!(saved, config);
}

#[test]
fn prefetching_does_not_change_batches() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    let run = |depth: usize| {
        let out = folder.path().join(depth.to_string());
        let outcome = fit(&config(&data, &[&format!("run.prefetch={depth}")]), &out, false, &Silent, &AtomicBool::new(false)).unwrap();
        assert!((0.0..=1.0).contains(&outcome.wait_fraction), "{}", outcome.wait_fraction);
        arrays(&out, "last.safetensors")
    };
    let when_needed = run(0);
    for depth in [1, 2, 5, 20] {
        assert!(run(depth) == when_needed, "{depth} batches ahead");
    }
}

//! Whole runs of a small network on pictures drawn here: what they write, how they stop and go on, what they refuse.

mod pictures;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use models::card::Training;
use models::console::{Progress, Silent};
use models::weights::WeightsFile;
use pictures::{arrays, config, data_folder};
use train::config::{Profile, RunConfig};
use train::fit::fit;
use train::rng::Draw;

/// Asks the run to stop once it has done `at` steps.
struct StopAt<'a> {
    at: u64,
    stop: &'a AtomicBool,
}

impl Progress for StopAt<'_> {
    fn begin(&self, _: &str, _: u64, _: &str) {}
    fn at(&self, done: u64, _: &str) {
        if done >= self.at {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn end(&self) {}
}

fn same_files(a: &Path, b: &Path, when: &str) {
    for name in ["last.safetensors", "best.safetensors"] {
        let hash = |run: &Path| models::artifact::sha256_of_file(&run.join(name)).unwrap();
        assert_eq!(hash(a), hash(b), "{name}, {when}");
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    for (name, sets) in [("weights", &[][..]), ("averaged weights", &["optimizer.weight_average=0.9"][..])] {
        let config = config(&data, sets);
        let whole = folder.path().join(format!("{name}, whole"));
        let outcome = fit(&config, &whole, false, &Silent, &AtomicBool::new(false)).unwrap();
        assert_eq!((outcome.iterations, outcome.stopped), (12, false));
        // Every second iteration updates the averages and every third one validates: the stop comes before, between and during these.
        for at in [1, 4, 5, 6, 11, 12] {
            let when = format!("{name}, stopped at {at}");
            let parts = folder.path().join(&when);
            let stop = AtomicBool::new(false);
            let first = fit(&config, &parts, false, &StopAt { at, stop: &stop }, &stop).unwrap();
            assert_eq!((first.iterations, first.stopped), (at, true), "{when}");
            let second = fit(&config, &parts, true, &Silent, &AtomicBool::new(false)).unwrap();
            assert_eq!(second.best, outcome.best, "{when}");
            same_files(&parts, &whole, &when);
        }
    }
}

/// Kills the program without warning, again and again, and goes on each time; the end must be that of a run left alone.
#[cfg(unix)]
fn killed_at_random(kills: u64, iterations: u64) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    let config = config(&data, &[&format!("run.iterations={iterations}"), "run.save_minutes=0.001", "method.name=both"]);
    let settings = folder.path().join("run.toml");
    std::fs::write(&settings, config.to_toml()).unwrap();
    let begin = |out: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        command.arg("--quiet").arg("fit").arg(&settings).arg("-o").arg(out);
        if out.join("last.safetensors").exists() {
            command.arg("--resume");
        }
        command.stderr(std::process::Stdio::null()).spawn().unwrap()
    };
    let whole = folder.path().join("whole");
    let start = std::time::Instant::now();
    assert!(begin(&whole).wait().unwrap().success());
    let longest = start.elapsed().as_secs_f64();
    let parts = folder.path().join("killed");
    let mut draw = Draw::new(kills, "kill", 0, 0, 0);
    for _ in 0..kills {
        let mut child = begin(&parts);
        std::thread::sleep(std::time::Duration::from_secs_f64(draw.range(0.05, (4.0 * longest / kills as f64).min(0.9 * longest))));
        let _ = child.kill(); // it may have ended
        child.wait().unwrap();
    }
    assert!(begin(&parts).wait().unwrap().success());
    same_files(&parts, &whole, "killed at random");
    let log = |run: &Path| {
        let text = std::fs::read_to_string(run.join("log.csv")).unwrap();
        // All columns but the seconds.
        text.lines()
            .map(|line| line.split(',').enumerate().filter(|(i, _)| *i != 1).map(|(_, v)| v.to_owned()).collect())
            .collect::<Vec<Vec<_>>>()
    };
    assert_eq!(log(&parts), log(&whole));
}

#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    killed_at_random(3, 30);
}

#[cfg(unix)]
#[test]
#[ignore = "takes a minute: 20 kills at random times"]
fn a_run_killed_20_times_goes_on_to_the_same_bits() {
    killed_at_random(20, 400);
}

/// Cross-entropy of pictures that are trained on, with statistics of the batch itself and with the network's own.
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

/// Statistics of batch normalisation that lag behind the weights spoil evaluation; those measured anew, of the weights or of
/// averaged ones, do not.
#[test]
fn evaluation_keeps_up_with_the_weights() {
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
fn training_learns_and_leaves_every_file() {
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
    assert!(iou > 0.6, "bright discs on a dark ground are easy, found IoU {iou:.3}");
    for name in ["config.toml", "log.csv", "last.safetensors", "best.safetensors", "overlays/p0.png", "overlays/p1.png"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    assert!(arrays(&out, "best.safetensors").keys().all(|name| !name.starts_with("projection") && !name.starts_with("optimizer")));
    let file = WeightsFile::read(&out.join("best.safetensors")).unwrap();
    let training: Training = serde_json::from_str(&file.metadata["training"]).unwrap();
    assert_eq!(training.colours.unwrap().cells, training.images, "small images are a cell each");
    let log = std::fs::read_to_string(out.join("log.csv")).unwrap();
    assert_eq!(log.lines().count(), 401);
    assert!(log.lines().nth(400).unwrap().contains("r1 "), "{log}");
    let saved = RunConfig::load(&out.join("config.toml"), Profile::Paper, &[] as &[&str]).unwrap();
    assert_eq!(saved, config);
}

#[test]
fn a_run_does_not_fall_on_another_and_resumes_only_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 4);
    let out = folder.path().join("run");
    let never = AtomicBool::new(false);
    let short = config(&data, &["run.iterations=2", "run.validate_every=0"]);
    assert!(fit(&short, &out, true, &Silent, &never).unwrap_err().to_string().contains("no last.safetensors"));
    fit(&short, &out, false, &Silent, &never).unwrap();
    assert!(fit(&short, &out, false, &Silent, &never).unwrap_err().to_string().contains("there is a run here already"));
    let other = config(&data, &["run.iterations=2", "run.validate_every=0", "optimizer.lr_decoder=0.001"]);
    let error = fit(&other, &out, true, &Silent, &never).unwrap_err().to_string();
    assert!(error.contains("optimizer.lr_decoder was 0.003, is now 0.001"), "{error}");
}

#[test]
fn damaged_checkpoints_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 3);
    let out = folder.path().join("run");
    fit(&config(&data, &["run.iterations=2"]), &out, false, &Silent, &AtomicBool::new(false)).unwrap();
    let good = std::fs::read(out.join("last.safetensors")).unwrap();
    let damaged = folder.path().join("damaged.safetensors");
    let mut draw = Draw::new(1, "damage", 0, 0, 0);
    for i in 0..60 {
        let mut bytes = good.clone();
        if i % 2 == 0 {
            bytes.truncate(draw.below(good.len()));
        } else {
            let at = draw.below(good.len());
            bytes[at] ^= 1 << draw.below(8);
        }
        std::fs::write(&damaged, bytes).unwrap();
        let error = train::checkpoint::open(&damaged).expect_err("a damaged checkpoint");
        assert!(error.to_string().contains("damaged.safetensors"), "{error}");
    }
}

/// Runs the program; exit code and stderr.
fn program(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_train")).args(arguments).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_input_is_one_clear_line_with_a_hint_and_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 3);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let data_set = format!("data.folder={}", data.display());
    let missing = format!("data.folder={}", at("nowhere"));
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (vec!["--set", &missing], "nowhere"),
        (vec!["--set", &data_set, "--set", "run.iteration=3"], "run.iterations"),
        (vec!["--set", &data_set, "--set", "method.name=s3l"], "s2l"),
        (vec!["--set", &data_set, "--set", "run.crop=100"], "run.crop"),
        (vec!["--set", &data_set, "--set", "run.init=/nowhere/weights.safetensors"], "weights.safetensors"),
    ];
    for (sets, expected) in cases {
        let out = at("out");
        let mut arguments = vec!["fit", "-o", &out, "--device", "cpu"];
        arguments.extend(sets);
        let (code, stderr) = program(&arguments);
        assert_eq!(code, 1, "{stderr}");
        let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{stderr}"));
        assert!(stderr.contains(expected), "{expected}: {stderr}");
        assert!(!error.contains("panicked"), "{stderr}");
    }
    let (code, stderr) = program(&["evaluate", &at("nowhere"), &data.display().to_string()]);
    assert!(code == 1 && stderr.contains("nowhere") && stderr.contains("hint: "), "{stderr}");
    if !cfg!(feature = "cuda") {
        let (code, stderr) = program(&["fit", "-o", &at("gpu"), "--device", "cuda", "--set", &data_set]);
        assert!(code == 1 && stderr.contains("without CUDA") && stderr.contains("hint: "), "{stderr}");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_saves_the_run_and_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 4);
    let out = folder.path().join("run");
    let settings = folder.path().join("run.toml");
    let long = config(&data, &["run.iterations=100000", "run.validate_every=0", "method.ema_period=5"]);
    std::fs::write(&settings, long.to_toml()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_train")).arg("fit").arg(&settings).arg("-o").arg(&out).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    let kill = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
    let asked = std::time::Instant::now();
    let status = child.wait().unwrap();
    assert!(asked.elapsed().as_secs() < 10);
    assert_eq!(status.code(), Some(143));
    train::checkpoint::open(&out.join("last.safetensors")).unwrap();
}

#[test]
fn batches_made_ahead_are_the_same_batches() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    let run = |depth: usize| {
        let out = folder.path().join(depth.to_string());
        let outcome = fit(&config(&data, &[&format!("run.prefetch={depth}")]), &out, false, &Silent, &AtomicBool::new(false)).unwrap();
        assert!((0.0..=1.0).contains(&outcome.waited), "{}", outcome.waited);
        arrays(&out, "last.safetensors")
    };
    let when_needed = run(0);
    for depth in [1, 2, 5, 20] {
        assert!(run(depth) == when_needed, "{depth} batches ahead");
    }
}

/// The signal comes while the validation images are being scored, which alone takes a while here.
#[cfg(unix)]
#[test]
fn a_signal_during_a_validation_saves_and_the_run_goes_on_to_the_same_bits() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    pictures::folder_of_pictures(&data, 24, 256);
    let row = |i| format!("p{i},{}", if i < 4 { "train" } else { "val" });
    let rows: Vec<String> = std::iter::once("id,split".to_owned()).chain((0..24).map(row)).collect();
    std::fs::write(data.join("index.csv"), rows.join("\n")).unwrap();
    let settings = folder.path().join("run.toml");
    let config = config(&data, &["run.iterations=4", "run.validate_every=2", "method.warmup_iterations=1", "run.overlays=0"]);
    std::fs::write(&settings, config.to_toml()).unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    fit(&config, &whole, false, &Silent, &AtomicBool::new(false)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
    command.arg("-v").arg("fit").arg(&settings).arg("-o").arg(&parts).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut messages = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(messages.any(|line| line.contains("validating with 20 images")), "the program tells of its validation");
    let asked = std::time::Instant::now();
    assert!(Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap().success());
    messages.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let seconds = asked.elapsed().as_secs_f64();
    eprintln!("saved and ended {seconds:.2} s after the signal");
    assert!(seconds < 10.0, "{seconds} s");
    let saved = train::checkpoint::open(&parts.join("last.safetensors")).unwrap();
    let progress: train::checkpoint::Progress = serde_json::from_str(&saved.metadata["progress"]).unwrap();
    assert_eq!((progress.iteration, progress.validated), (2, 0), "the validation after 2 steps was interrupted");
    fit(&config, &parts, true, &Silent, &AtomicBool::new(false)).unwrap();
    same_files(&parts, &whole, "stopped during a validation");
}

//! Whole runs of a small network on pictures drawn here: what they write, how they stop and go on, what they refuse.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use models::console::{Progress, Silent};
use models::plane::Plane;
use models::weights::WeightsFile;
use train::config::{Profile, RunConfig};
use train::data::image_file::{RgbImage, png_of_labels, png_of_rgb};
use train::fit::fit;
use train::make_scribbles::{Kind, write_scribbles};
use train::rng::Draw;

/// Bright discs on a dark ground, with their instance labels.
fn picture(side: usize, seed: u64) -> (RgbImage, Plane<u32>) {
    let mut draw = Draw::new(seed, "picture", 0, 0, 0);
    let mut labels = Plane::filled(side, side, 0u32);
    for id in 1..=6 {
        let (cx, cy, r) = (draw.range(12.0, side as f64 - 12.0), draw.range(12.0, side as f64 - 12.0), draw.range(6.0, 10.0));
        for y in 0..side {
            for x in 0..side {
                if (x as f64 - cx).hypot(y as f64 - cy) < r {
                    labels.row_mut(y)[x] = id;
                }
            }
        }
    }
    let data = labels.data.iter().flat_map(|&id| [if id > 0 { 180 } else { 30 } + draw.below(40) as u8; 3]).collect();
    (RgbImage::new(side, side, data).unwrap(), labels)
}

fn data_folder(folder: &Path, images: u64) {
    for i in 0..images {
        let (image, labels) = picture(70, i);
        models::artifact::write(&folder.join(format!("images/p{i}.png")), &png_of_rgb(&image).unwrap()).unwrap();
        models::artifact::write(&folder.join(format!("labels/p{i}.png")), &png_of_labels(&labels).unwrap()).unwrap();
    }
    write_scribbles(folder, Kind::Strokes(0.8), 1, false).unwrap();
}

fn config(data: &Path, sets: &[&str]) -> RunConfig {
    let text = format!(
        "[data]\nfolder = {data:?}\n[network]\nencoder_width = 8\ndecoder_channels = [32, 16, 16, 16, 16]\n[method]\nwarmup_iterations = 4\n\
         ema_period = 2\n[run]\niterations = 12\nbatch = 2\ncrop = 64\nvalidate_every = 3\nrecalibrate_batches = 2\noverlays = 2\ndevice = \"cpu\"\n"
    );
    RunConfig::from_toml(&text, Profile::Default, sets).unwrap()
}

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

fn arrays(run: &Path, name: &str) -> models::weights::Weights {
    WeightsFile::read(&run.join(name)).unwrap().arrays
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    let config = config(&data, &[]);
    let whole = folder.path().join("whole");
    let outcome = fit(&config, &whole, false, &Silent, &AtomicBool::new(false)).unwrap();
    assert_eq!((outcome.iterations, outcome.stopped), (12, false));
    for at in [1, 5, 6, 11] {
        let parts = folder.path().join(format!("stopped at {at}"));
        let stop = AtomicBool::new(false);
        let first = fit(&config, &parts, false, &StopAt { at, stop: &stop }, &stop).unwrap();
        assert_eq!((first.iterations, first.stopped), (at, true));
        let second = fit(&config, &parts, true, &Silent, &AtomicBool::new(false)).unwrap();
        assert_eq!(second.best, outcome.best, "stopped at {at}");
        assert!(arrays(&parts, "last.safetensors") == arrays(&whole, "last.safetensors"), "stopped at {at}");
        assert!(arrays(&parts, "best.safetensors") == arrays(&whole, "best.safetensors"), "stopped at {at}");
    }
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
    data_folder(&data, 6);
    let out = folder.path().join("run");
    let config = config(&data, &["run.iterations=240", "method.warmup_iterations=120", "method.ema_period=20", "run.validate_every=40", "optimizer.lr_head=0.01", "optimizer.lr_encoder=0.003", "data.validation_share=0.4"]);
    let outcome = fit(&config, &out, false, &Silent, &AtomicBool::new(false)).unwrap();
    let (iou, _) = outcome.best.unwrap();
    assert!(iou > 0.6, "bright discs on a dark ground are easy, found IoU {iou:.3}");
    for name in ["config.toml", "log.csv", "last.safetensors", "best.safetensors", "overlays/p0.png", "overlays/p1.png"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    assert!(arrays(&out, "best.safetensors").keys().all(|name| !name.starts_with("projection") && !name.starts_with("optimizer")));
    let log = std::fs::read_to_string(out.join("log.csv")).unwrap();
    assert_eq!(log.lines().count(), 241);
    assert!(log.lines().nth(240).unwrap().contains("r1 "), "{log}");
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
    assert!(error.contains("lr_decoder = 0.003") && error.contains("lr_decoder = 0.001"), "{error}");
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

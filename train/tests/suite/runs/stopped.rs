//! Runs that are stopped, signalled or killed resume to the same bytes as an uninterrupted run.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use support::console::Silent;
use train::fit::fit;
use train::rng::CounterRng;

use crate::support::pictures::{self, config, data_folder};
use crate::support::stop_at::StopAt;

fn assert_same_files(a: &Path, b: &Path, when: &str) {
    for name in ["last.safetensors", "best.safetensors"] {
        let hash = |run: &Path| support::durable::sha256_of_file(&run.join(name)).unwrap();
        assert_eq!(hash(a), hash(b), "{name}, {when}");
    }
}

#[test]
fn a_stopped_run_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 6);
    for (name, sets) in [("weights", &[][..]), ("averaged weights", &["optimizer.weight_average=0.9"][..])] {
        let config = config(&data, sets);
        let whole = folder.path().join(format!("{name}, whole"));
        let outcome = fit(&config, &whole, false, &Silent, &AtomicBool::new(false)).unwrap();
        assert_eq!((outcome.iterations, outcome.stopped), (12, false));
        // Every second iteration updates the averages and every third one validates, so the stops fall before, between and during them.
        for at in [1, 4, 5, 6, 11, 12] {
            let when = format!("{name}, stopped at {at}");
            let parts = folder.path().join(&when);
            let stop = AtomicBool::new(false);
            let first = fit(&config, &parts, false, &StopAt { at, stop: &stop }, &stop).unwrap();
            assert_eq!((first.iterations, first.stopped), (at, true), "{when}");
            let second = fit(&config, &parts, true, &Silent, &AtomicBool::new(false)).unwrap();
            assert_eq!(second.best, outcome.best, "{when}");
            assert_same_files(&parts, &whole, &when);
        }
    }
}

/// Kills the program `kills` times at random moments and resumes it each time; the result must equal that of an uninterrupted run.
#[cfg(unix)]
fn assert_resumes_after_random_kills(kills: u64, iterations: u64) {
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
    let mut draw = CounterRng::new(kills, "kill", 0, 0, 0);
    for _ in 0..kills {
        let mut child = begin(&parts);
        std::thread::sleep(std::time::Duration::from_secs_f64(draw.range(0.05, (4.0 * longest / kills as f64).min(0.9 * longest))));
        let _ = child.kill(); // the program may have ended before
        child.wait().unwrap();
    }
    assert!(begin(&parts).wait().unwrap().success());
    assert_same_files(&parts, &whole, "killed at random");
    let log = |run: &Path| {
        let text = std::fs::read_to_string(run.join("log.csv")).unwrap();
        // All columns except the seconds.
        text.lines()
            .map(|line| line.split(',').enumerate().filter(|(i, _)| *i != 1).map(|(_, v)| v.to_owned()).collect())
            .collect::<Vec<Vec<_>>>()
    };
    assert_eq!(log(&parts), log(&whole));
}

#[cfg(unix)]
#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    assert_resumes_after_random_kills(3, 30);
}

#[cfg(unix)]
#[test]
#[ignore = "takes a minute: 20 kills at random times"]
fn a_run_killed_20_times_resumes_to_the_same_bits() {
    assert_resumes_after_random_kills(20, 400);
}

/// Each run also loses its stderr, as a run does whose connection to a terminal ends.
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
    for (name, code) in [("HUP", 129), ("INT", 130), ("TERM", 143)] {
        let (reader, closed_pipe) = std::io::pipe().unwrap();
        drop(reader);
        // A caller may have the tests run with an ignored SIGHUP, as `nohup` does.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=HUP", env!("CARGO_BIN_EXE_train"), "fit"])
            .arg(&settings)
            .arg("-o")
            .arg(&out)
            .args((name != "HUP").then_some("--resume"))
            .stderr(closed_pipe);
        let mut child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_secs(3));
        let kill = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
        assert!(kill.success());
        let asked = std::time::Instant::now();
        let status = child.wait().unwrap();
        assert!(asked.elapsed().as_secs() < 10);
        assert_eq!(status.code(), Some(code), "{name}");
        train::checkpoint::open(&out.join("last.safetensors")).unwrap();
    }
}

/// The signal arrives while validation images are scored, the only slow part of this run.
#[cfg(unix)]
#[test]
fn a_signal_during_a_validation_saves_the_run_which_resumes_to_the_same_bits() {
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
    assert!(messages.any(|line| line.contains("validating with 20 images")), "the program logs its validation");
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
    assert_same_files(&parts, &whole, "stopped during a validation");
}

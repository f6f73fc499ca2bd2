//! Input that a run refuses, and the errors.

use std::process::Command;
use std::sync::atomic::AtomicBool;

use support::console::Silent;
use support::durable::FolderLock;
use train::fit::fit;
use train::rng::CounterRng;

use crate::support::pictures::{config, data_folder};

#[test]
fn a_run_never_overwrites_another_and_resumes_only_with_its_own_configuration() {
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
fn a_second_process_is_told_who_trains_in_the_folder_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 3);
    let (out, never) = (folder.path().join("run"), AtomicBool::new(false));
    let config = config(&data, &["run.iterations=2", "run.validate_every=0"]);
    let lock = FolderLock::exclusive(&out).unwrap();
    let error = fit(&config, &out, false, &Silent, &never).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())) && error.hint_text().is_some(), "{error}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "the lock alone");
    drop(lock);
    // A killed run has left an unfinished file.
    std::fs::write(out.join(".partial-abc.tmp"), b"half").unwrap();
    fit(&config, &out, false, &Silent, &never).unwrap();
    assert!(!out.join(".partial-abc.tmp").exists() && !out.join(".lock").exists());
}

#[test]
fn damaged_checkpoints_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    data_folder(&data, 3);
    let out = folder.path().join("run");
    fit(&config(&data, &["run.iterations=2"]), &out, false, &Silent, &AtomicBool::new(false)).unwrap();
    let good = std::fs::read(out.join("last.safetensors")).unwrap();
    let damaged = folder.path().join("damaged.safetensors");
    let mut draw = CounterRng::new(1, "damage", 0, 0, 0);
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

/// Runs the program; returns exit code and stderr.
fn program(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_train")).args(arguments).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_input_gives_a_one_line_error_with_a_hint_and_an_exit_code() {
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

//! Faults of writes, files, folders and threads: a run ends with an error or not at all, and resumes to the bytes of an undisturbed one.

use std::sync::atomic::AtomicBool;

use support::console::Silent;
use train::fit::fit;

use super::fault_injection::for_each_fault;
use crate::support::pictures::{config, data_folder};

const TRAIN: &str = env!("CARGO_BIN_EXE_train");

fn training_survives_faults(every: bool) {
    let common = tempfile::tempdir().unwrap();
    let data = common.path().join("data");
    data_folder(&data, 3);
    let sets = ["run.iterations=3", "run.validate_every=2", "run.overlays=0", "run.threads=1", "run.save_minutes=0.001"];
    let config = config(&data, &sets);
    let settings = common.path().join("run.toml").display().to_string();
    std::fs::write(&settings, config.to_toml()).unwrap();
    let whole = common.path().join("whole");
    fit(&config, &whole, false, &Silent, &AtomicBool::new(false)).unwrap();
    let expected = std::fs::read(whole.join("last.safetensors")).unwrap();
    let arguments = ["fit", &settings, "-o", "run"];
    let runs = for_each_fault(
        TRAIN,
        &arguments,
        every,
        || tempfile::tempdir().unwrap(),
        |folder, output, fault| {
            let run = folder.join("run");
            let last = run.join("last.safetensors");
            assert!(last.exists() || !output.status.success(), "{fault}: no checkpoint and no error");
            fit(&config, &run, last.exists(), &Silent, &AtomicBool::new(false)).unwrap_or_else(|error| panic!("after {fault}: {error}"));
            assert!(std::fs::read(&last).unwrap() == expected, "after {fault}: another checkpoint");
            let left = std::fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().path());
            assert_eq!(left.filter(|path| support::durable::is_unfinished(path)).count(), 0, "after {fault}");
        },
    );
    eprintln!("{runs} runs with a fault");
    assert!(runs > 20, "{runs} runs");
}

#[test]
fn training_survives_faults_of_the_system() {
    training_survives_faults(false);
}

#[test]
#[ignore = "minutes: every call of the system fails once"]
fn training_survives_every_fault_of_the_system() {
    training_survives_faults(true);
}

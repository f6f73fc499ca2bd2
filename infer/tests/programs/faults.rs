//! Faults of writes, files, folders and threads: a segmentation succeeds or is an error, and never leaves a wrong result.

use std::path::Path;

use crate::fault_injection::for_each_fault;
use crate::{INFER, data, printed, run, slide};

fn segmentation_survives_faults(every: bool) {
    let model = data("format-1.onnx").display().to_string();
    let arguments = ["segment", &model, "a.png", "-o", "out", "--mpp", "0.5", "--tile", "160", "--halo", "32", "--device", "native"];
    let prepare = || {
        let folder = tempfile::tempdir().unwrap();
        slide(&folder.path().join("a.png"));
        folder
    };
    let runs = for_each_fault(INFER, &arguments, every, prepare, |folder, output, fault| {
        let results = folder.join("out/a");
        let has_summary = results.join("summary.json").exists();
        assert!(has_summary || !output.status.success(), "{fault}: no results and no error: {}", printed(output));
        if has_summary {
            infer::output::check(&results).unwrap_or_else(|error| panic!("{fault}: {error}"));
        }
        let out = folder.join("out").display().to_string();
        let slide = folder.join("a.png").display().to_string();
        let again = [&["segment", &model, &slide, "-o", &out], &arguments[5..]].concat();
        let again = run(Path::new(INFER), folder, &again);
        assert!(again.status.success(), "after {fault}: {}", printed(&again));
        infer::output::check(&results).unwrap_or_else(|error| panic!("after {fault}: {error}"));
        let left = std::fs::read_dir(&results).unwrap().map(|entry| entry.unwrap().path());
        assert_eq!(left.filter(|path| support::durable::is_unfinished(path)).count(), 0, "after {fault}");
    });
    eprintln!("{runs} runs with a fault");
    assert!(runs > 30, "{runs} runs");
}

#[test]
fn a_segmentation_survives_faults_of_the_system() {
    segmentation_survives_faults(false);
}

#[test]
#[ignore = "minutes: every call of the system fails once"]
fn a_segmentation_survives_every_fault_of_the_system() {
    segmentation_survives_faults(true);
}

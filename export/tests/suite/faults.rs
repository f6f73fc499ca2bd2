//! Faults of writes, files, folders and threads: an export writes the whole model or nothing.

use crate::fault_injection::for_each_fault;
use crate::shipped::{checkpoint, small};

const EXPORT: &str = env!("CARGO_BIN_EXE_export");

fn export_survives_faults(every: bool) {
    let common = tempfile::tempdir().unwrap();
    checkpoint(common.path(), &small());
    let weights = common.path().join("best.safetensors").display().to_string();
    let arguments = ["onnx", &weights, "-o", "nuclei.onnx"];
    let runs = for_each_fault(
        EXPORT,
        &arguments,
        every,
        || tempfile::tempdir().unwrap(),
        |folder, output, fault| {
            let model = folder.join("nuclei.onnx");
            assert!(model.exists() || !output.status.success(), "{fault}: no model and no error");
            if model.exists() {
                infer::model::Model::open(&model).unwrap_or_else(|error| panic!("{fault}: {error}"));
            }
        },
    );
    eprintln!("{runs} runs with a fault");
    assert!(runs > 15, "{runs} runs");
}

#[test]
fn an_export_survives_faults_of_the_system() {
    export_survives_faults(false);
}

#[test]
#[ignore = "minutes: every call of the system fails once"]
fn an_export_survives_every_fault_of_the_system() {
    export_survives_faults(true);
}

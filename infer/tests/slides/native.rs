//! The program on its native device, without ONNX Runtime.

use std::path::Path;
use std::process::{Command, Output};

use infer::output::Summary;

use crate::picture::{save_tiff, tissue};
use crate::random::Random;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/models/format-1.onnx");

/// Runs the program in an environment without any native library.
fn infer_without_libraries(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_infer"));
    for variable in ["NUCLEI_ONNXRUNTIME", "ORT_DYLIB_PATH", "XDG_CACHE_HOME"] {
        command.env_remove(variable);
    }
    command.env("NUCLEI_CACHE", folder.join("no cache")).args(arguments).output().unwrap()
}

#[test]
fn slides_are_segmented_without_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let slide = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(71), 700, 500), &slide, Some(0.5));
    let slide = slide.to_str().unwrap();
    let summary = |device: &str, out: &str, tile: &str| -> Summary {
        let out = folder.path().join(out);
        let arguments = ["segment", MODEL, slide, "-o", out.to_str().unwrap(), "--device", device, "--tile", tile, "--halo", "exact"];
        let run = infer_without_libraries(&[&arguments[..], &["--mpp", "0.5", "--no-tissue", "--json"]].concat(), folder.path());
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        serde_json::from_slice::<Vec<Summary>>(&run.stdout).unwrap().remove(0)
    };
    // The model has no golden tiles; without ONNX Runtime, `auto` still takes the native device.
    let [named, auto] = [summary("native", "named", "4096"), summary("auto", "auto", "4096")];
    assert!(named.run.device.starts_with("native in f32, own kernels, "), "{}", named.run.device);
    assert_eq!(named.run.device, auto.run.device);
    let probability = |out: &str| std::fs::read(folder.path().join(out).join("a/probability.tif")).unwrap();
    assert!(probability("named") == probability("auto"));
    let error = infer_without_libraries(&["verify", MODEL, "--device", "cpu"], folder.path());
    let text = String::from_utf8_lossy(&error.stderr).into_owned();
    assert!(!error.status.success() && text.contains("ONNX Runtime") && text.contains("hint:"), "{text}");
}

#[test]
fn verify_and_doctor_run_without_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let verified = infer_without_libraries(&["verify", MODEL, "--device", "native"], folder.path());
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    assert!(String::from_utf8_lossy(&verified.stdout).contains("sound on native"));
    let refused = infer_without_libraries(&["verify", MODEL, "--device", "native", "--precision", "bf16"], folder.path());
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("f32 only"));
    let doctor = infer_without_libraries(&["doctor"], folder.path());
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.status.success() && text.contains("own kernels: f32") && text.contains("optional ONNX Runtime"), "{text}");
}

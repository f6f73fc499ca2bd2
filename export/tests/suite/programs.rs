//! The program `export` on a machine without ONNX Runtime.

use std::path::Path;
use std::process::{Command, Output};

use crate::reference::formula_weights;
use models::unet::{UNetConfig, unet};
use models::weights::WeightsFile;

/// Runs `export` with an empty cache and without variables that name a library.
fn export(cache: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_export"))
        .args(arguments)
        .env("NUCLEI_CACHE", cache)
        .env_remove("NUCLEI_ONNXRUNTIME")
        .env_remove("ORT_DYLIB_PATH")
        .output()
        .unwrap()
}

#[test]
fn without_a_runtime_the_file_is_written_and_verify_names_the_install_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let config = UNetConfig { encoder_width: 2, decoder_channels: [2; 5], ..UNetConfig::default() };
    WeightsFile { arrays: formula_weights(&unet(&config)), ..WeightsFile::default() }.write(Path::new(&at("plain.safetensors"))).unwrap();
    image::RgbImage::new(64, 64).save(at("tile.png")).unwrap();

    let written = export(folder.path(), &["onnx", &at("plain.safetensors"), "-o", &at("a.onnx"), "--tiles", &at("tile.png")]);
    let messages = String::from_utf8_lossy(&written.stderr);
    assert!(written.status.success(), "{messages}");
    assert!(messages.contains("not measured") && messages.contains("infer runtime install"), "{messages}");

    let card = export(folder.path(), &["card", &at("a.onnx"), "--json"]);
    let card: serde_json::Value = serde_json::from_slice(&card.stdout).expect("stdout is data only");
    assert_eq!((&card["name"], &card["reach_px"]), (&"plain".into(), &544.into()));

    let verified = export(folder.path(), &["verify", &at("a.onnx")]);
    let messages = String::from_utf8_lossy(&verified.stderr);
    assert_eq!(verified.status.code(), Some(1));
    assert!(
        messages.contains("ONNX Runtime was not found") && messages.contains("cargo run --release -p infer -- runtime install"),
        "{messages}"
    );
}

#[test]
fn the_error_names_a_missing_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let output = export(folder.path(), &["onnx", "no/such.safetensors", "-o", "a.onnx"]);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(messages.contains("no/such.safetensors"), "{messages}");
}

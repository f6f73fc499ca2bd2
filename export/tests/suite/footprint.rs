//! Footprint of the program `export`, with ONNX Runtime for measurements: no command opens a connection or writes a file other than its
//! outputs.

use std::path::Path;

use crate::shipped::{checkpoint, install_runtime, small};
use crate::trace::Sandbox;

const EXPORT: &str = env!("CARGO_BIN_EXE_export");

/// The first command keeps running for fifteen seconds after ONNX Runtime has been loaded and used, so that late connections are seen.
#[test]
fn no_command_opens_a_connection_or_writes_beside_its_outputs() {
    install_runtime();
    let sandbox = Sandbox::new();
    checkpoint(&sandbox.at(""), &small());
    let pixel = |x: u32, y: u32| image::Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, ((x ^ y) % 256) as u8]);
    image::RgbImage::from_fn(300, 300, pixel).save(sandbox.at("tile.png")).unwrap();

    let written = sandbox.run_long(EXPORT, &["onnx", "best.safetensors", "-o", "nuclei.onnx", "--tiles", "tile.png"]);
    written.assert_made(&["work/.partial-*.tmp", "work/nuclei.onnx"]);
    assert!(String::from_utf8_lossy(&written.output.stdout).contains("2 golden tiles"), "ONNX Runtime has run the model");

    sandbox.run(EXPORT, &["verify", "nuclei.onnx"]).assert_made(&[]);
    sandbox.run(EXPORT, &["card", "nuclei.onnx"]).assert_made(&[]);
    sandbox.run(EXPORT, &["keygen", "lab", "--plain"]).assert_made(&["work/.partial-*.tmp", "work/lab.key", "work/lab.pub"]);
    let signed = sandbox.run(EXPORT, &["sign", "nuclei.onnx", "--key", "lab.key", "--plain"]);
    signed.assert_made(&["work/.partial-*.tmp", "work/nuclei.onnx.minisig"]);
    assert!(Path::new(&sandbox.at("nuclei.onnx.minisig")).is_file());
}

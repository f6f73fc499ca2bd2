//! The program `infer` as a process: what it leaves behind.
#![cfg(target_os = "linux")]

mod footprint;
#[path = "../../../tests/trace.rs"]
mod trace;

use std::path::{Path, PathBuf};

const INFER: &str = env!("CARGO_BIN_EXE_infer");

/// A file of the tests' data.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models").join(name)
}

/// A slide of one shade with some dark squares.
fn slide(path: &Path) {
    let dark = |x: u32, y: u32| x % 40 < 14 && y % 40 < 14;
    let pixel = |x, y| image::Rgb(if dark(x, y) { [90, 60, 140] } else { [225, 190, 215] });
    image::RgbImage::from_fn(300, 300, pixel).save(path).unwrap();
}

//! Tests of the program `infer` as a process: its files and sockets, and the models and libraries that it refuses.
#![cfg(target_os = "linux")]

#[path = "../../../tests/faults.rs"]
mod fault_injection;
mod faults;
mod folders;
mod footprint;
mod libraries;
mod pin;
mod streams;
#[path = "../../../tests/trace.rs"]
mod trace;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const INFER: &str = env!("CARGO_BIN_EXE_infer");

/// Returns the path of a model file of the test data.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models").join(name)
}

/// Writes a slide of 300 x 300 px: dark squares on a light background.
fn slide(path: &Path) {
    let dark = |x: u32, y: u32| x % 40 < 14 && y % 40 < 14;
    let pixel = |x, y| image::Rgb(if dark(x, y) { [90, 60, 140] } else { [225, 190, 215] });
    image::RgbImage::from_fn(300, 300, pixel).save(path).unwrap();
}

/// Copies the program by another process, because a file that is open for writing while another thread starts a child cannot be run.
fn copy_program(to: &Path) {
    assert!(Command::new("cp").arg(INFER).arg(to).status().unwrap().success());
}

/// Runs a program with a cache folder and without environment variables that name libraries.
fn run(program: &Path, cache: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    for name in ["NUCLEI_ONNXRUNTIME", "ORT_DYLIB_PATH", "NUCLEI_OPENSLIDE", "NUCLEI_OPENVINO", "NUCLEI_CUDA"] {
        command.env_remove(name);
    }
    command.args(arguments).env("NUCLEI_CACHE", cache).output().unwrap()
}

/// Returns the standard output and the standard error of a program.
fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

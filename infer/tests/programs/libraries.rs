//! Hash check of native libraries: a library in the cache or beside the program is loaded only with its pinned hash.

use std::path::{Path, PathBuf};

use infer::runtime::{self, Library};

use crate::{INFER, copy_program, data, printed, run};

const FILE: &str = "libonnxruntime.so.1.31.1";

/// Returns an installed library with one more byte at the end, which the dynamic linker accepts.
fn changed(library: Library) -> Vec<u8> {
    let installed = runtime::install_library(library, None, None).expect("it is fetched by `python3 -m pip download`");
    let mut bytes = std::fs::read(installed.path).unwrap();
    bytes.push(0);
    bytes
}

/// Writes a file and creates its folder.
fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Runs `infer verify` on ONNX Runtime; returns its success, its output, and whether the dynamic linker loaded the library at `path`.
fn verify(program: &Path, cache: &Path, variable: Option<&Path>, path: &Path) -> (bool, String, bool) {
    let model = data("format-1.onnx");
    let mut command = std::process::Command::new(program);
    command.args(["-vv", "verify"]).arg(&model).args(["--device", "cpu"]);
    command.env("NUCLEI_CACHE", cache).env_remove("NUCLEI_ONNXRUNTIME").env_remove("ORT_DYLIB_PATH");
    if let Some(variable) = variable {
        command.env("NUCLEI_ONNXRUNTIME", variable);
    }
    let output = command.env("LD_DEBUG", "files").output().unwrap();
    let printed = printed(&output);
    let is_loaded = printed.contains(&format!("calling init: {}", path.display()));
    (output.status.success(), printed, is_loaded)
}

#[test]
fn a_changed_onnx_runtime_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = changed(Library::OnnxRuntime);
    let at = |name: &str| folder.path().join(name);

    let cached = at("cache/lib").join(FILE);
    put(&cached, &bytes);
    let (done, text, is_loaded) = verify(Path::new(INFER), &at("cache"), None, &cached);
    assert!(!done && !is_loaded, "{text}");
    assert!(text.contains("of the cache before it is loaded: expected sha256") && text.contains("hint: `infer runtime install`"), "{text}");

    // A library that the user names is loaded without a check, and its hash is logged.
    let (done, text, is_loaded) = verify(Path::new(INFER), &at("empty"), Some(&cached), &cached);
    assert!(done && is_loaded && text.contains(&support::durable::sha256(&bytes)), "{text}");

    let program = at("site/infer");
    std::fs::create_dir(at("site")).unwrap();
    copy_program(&program);
    let beside = at("site/lib").join(FILE);
    put(&beside, &bytes);
    let (done, text, is_loaded) = verify(&program, &at("empty"), None, &beside);
    assert!(!done && !is_loaded && text.contains("lib/ beside the program"), "{text}");
}

#[test]
fn a_higher_version_in_the_cache_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let cached = |name: &str| folder.path().join("lib").join(name);
    let higher = cached("libonnxruntime.so.9.9.9");
    put(&higher, &changed(Library::OnnxRuntime));
    let (done, text, is_loaded) = verify(Path::new(INFER), folder.path(), None, &higher);
    assert!(!done && !is_loaded && text.contains("none of the files that are pinned for ONNX Runtime"), "{text}");

    let pinned: PathBuf = runtime::install_library(Library::OnnxRuntime, None, None).unwrap().path;
    std::fs::copy(pinned, cached(FILE)).unwrap();
    let (done, text, is_loaded) = verify(Path::new(INFER), folder.path(), None, &cached(FILE));
    assert!(done && is_loaded && !text.contains("9.9.9"), "{text}");
}

#[test]
fn a_changed_openslide_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let cached = folder.path().join("lib/libopenslide.so.1");
    put(&cached, &changed(Library::OpenSlide));
    let slide = folder.path().join("a.ndpi");
    std::fs::write(&slide, b"II*\0\0\0\0\0").unwrap();
    let refused = "before it is loaded: expected sha256";
    let output = run(Path::new(INFER), folder.path(), &["slide-server", &slide.display().to_string()]);
    assert!(printed(&output).contains(refused), "{}", printed(&output));
    let doctor = run(Path::new(INFER), folder.path(), &["doctor"]);
    assert!(printed(&doctor).lines().any(|line| line.contains("OpenSlide") && line.contains(refused)), "{}", printed(&doctor));
}

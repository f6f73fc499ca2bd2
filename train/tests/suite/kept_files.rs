//! Files of a user that a command must not replace: strokes, pictures, weights and configurations at the place of an output.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use support::console::Silent;
use train::fit::fit;

use crate::support::pictures::{config, data_folder};

/// Runs the program, which must refuse to write `kept`, name the file in its error and leave its bytes.
fn refused(arguments: &[&str], kept: &Path) {
    let before = fs::read(kept).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_train")).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    let folder = kept.parent().unwrap().display().to_string();
    assert!(stderr.contains(&folder) && stderr.contains("hint: "), "{arguments:?}: {stderr}");
    assert!(fs::read(kept).unwrap() == before, "{arguments:?} replaced {}", kept.display());
}

#[test]
fn commands_replace_their_own_outputs_and_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |name: &str| at(name).display().to_string();
    data_folder(&at("data"), 3);
    fit(&config(&at("data"), &["run.iterations=2"]), &at("run"), false, &Silent, &AtomicBool::new(false)).unwrap();
    let strokes = at("strokes/p0.geojson");
    fs::create_dir(at("strokes")).unwrap();
    fs::write(&strokes, "{\"type\":\"FeatureCollection\",\"features\":[]}").unwrap();
    let (run, data) = (&text("run"), &text("data"));
    refused(&["suggest", run, "-o", &text("data/scribbles")], &at("data/scribbles/p0.png"));
    refused(&["suggest", run, "-o", &text("strokes"), "--count", "99"], &strokes);
    refused(&["export-scribbles", data, "-o", &text("strokes")], &strokes);
    for folder in ["data/images", "data/labels", "run/overlays"] {
        refused(&["evaluate", run, data, "--overlays", &text(folder)], &at(folder).join("p0.png"));
    }
    refused(&["compare", data, run, "-o", &text("data/images")], &at("data/images/p0.png"));
    refused(&["import", &text("run/best.safetensors"), "-o", &text("run/best.safetensors")], &at("run/best.safetensors"));
    refused(&["weights", "mobilenet_v2", "-o", &text("run/best.safetensors")], &at("run/best.safetensors"));
    let settings = at("new/config.toml");
    fs::create_dir(at("new")).unwrap();
    fs::write(&settings, format!("# by hand\n[data]\nfolder = \"{data}\"\n[run]\niterations = 2\ninit = \"\"\n")).unwrap();
    refused(&["fit", &text("new/config.toml"), "-o", &text("new")], &settings);
    // A second call replaces the outputs of the first, unless they were edited.
    let export = || Command::new(env!("CARGO_BIN_EXE_train")).args(["export-scribbles", data, "-o", &text("qupath")]).status().unwrap();
    assert!(export().success() && export().success());
    fs::write(at("qupath/p1.geojson"), "{\"type\":\"FeatureCollection\",\"features\":[]}").unwrap();
    refused(&["export-scribbles", data, "-o", &text("qupath")], &at("qupath/p1.geojson"));
}

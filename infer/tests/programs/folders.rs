//! Output folders: one result, one process, no file of others, and files that stay as they were written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::durable::FolderLock;

use crate::{INFER, data, printed, slide};

/// Temporary folder with a slide.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        slide(&site.at("a.png"));
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn infer(&self, arguments: &[&str]) -> Output {
        Command::new(INFER).args(arguments).current_dir(self.0.path()).output().unwrap()
    }

    /// Segments the slide to `out/a`.
    fn segment(&self, more: &[&str]) -> Output {
        let model = data("format-1.onnx").display().to_string();
        let common = ["segment", &model, "a.png", "-o", "out", "--mpp", "0.5", "--tile", "192", "--device", "native"];
        let halo: &[&str] = if more.contains(&"--halo") { &[] } else { &["--halo", "32"] };
        self.infer(&[&common[..], halo, more].concat())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.at("out/a")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[track_caller]
fn assert_succeeds(output: &Output) {
    assert!(output.status.success(), "{}", printed(output));
}

#[track_caller]
fn assert_fails(output: &Output, reason: &str) {
    let printed = printed(output);
    assert!(output.status.code() == Some(1) && printed.contains(reason) && printed.contains("hint: "), "{printed}");
}

#[test]
fn files_of_an_earlier_run_that_the_new_one_does_not_write_are_removed() {
    let site = Site::new();
    assert_succeeds(&site.segment(&["--also", "parquet", "--also", "labels", "--also", "tiatoolbox"]));
    fs::write(site.at("out/a/notes.txt"), "of the user").unwrap();
    assert_succeeds(&site.segment(&["--halo", "64", "--geojson-shards", "4096"]));
    let names = site.names();
    for gone in ["nuclei.geojson.gz", "nuclei.parquet", "nuclei.db", "labels.ome.tif", ".lock"] {
        assert!(!names.iter().any(|name| name == gone), "{names:?}");
    }
    assert!(names.iter().any(|name| name == "notes.txt"), "{names:?}");
    assert_succeeds(&site.infer(&["check", "out"]));
}

#[test]
fn a_folder_that_another_process_writes_to_is_left_alone() {
    let site = Site::new();
    let lock = FolderLock::exclusive(&site.at("out/a")).unwrap();
    let before = site.names();
    assert_fails(&site.segment(&[]), &format!("process {}", std::process::id()));
    assert_eq!(site.names(), before);
    drop(lock);
    assert_succeeds(&site.segment(&[]));
}

#[test]
fn files_that_no_run_wrote_are_not_replaced() {
    let site = Site::new();
    for name in ["mask.tif", "summary.json", "overlay.png"] {
        let path = site.at("out/a").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "of the user").unwrap();
        assert_fails(&site.segment(&[]), name);
        assert_eq!(fs::read_to_string(&path).unwrap(), "of the user");
        fs::remove_file(&path).unwrap();
    }
    assert_succeeds(&site.segment(&[]));
}

#[test]
fn a_resumed_run_keeps_its_own_results_and_refuses_those_of_other_options() {
    let site = Site::new();
    assert_succeeds(&site.segment(&[]));
    let written = |name: &str| fs::metadata(site.at("out/a").join(name)).unwrap().modified().unwrap();
    let before = written("mask.tif");
    assert_succeeds(&site.segment(&["--resume"]));
    assert_eq!(written("mask.tif"), before, "undamaged results are kept");
    assert_fails(&site.segment(&["--resume", "--halo", "64"]), "other options");
    assert_eq!(written("mask.tif"), before);
}

/// Change of an output file.
type Change = fn(&Path);

/// Rewrites an output file with other bytes.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_results_are_named_and_computed_again() {
    let site = Site::new();
    assert_succeeds(&site.segment(&[]));
    let original = fs::read(site.at("out/a/mask.tif")).unwrap();
    let changes: [(&str, Change); 3] = [
        ("expected", |path| damage(path, Vec::clear)),
        ("have changed", |path| damage(path, |bytes| *bytes.last_mut().unwrap() ^= 1)),
        ("cannot be read", |path| fs::remove_file(path).unwrap()),
    ];
    for (reason, change) in changes {
        change(&site.at("out/a/mask.tif"));
        for folder in ["out", "out/a"] {
            let output = site.infer(&["check", folder]);
            let printed = printed(&output);
            assert!(output.status.code() == Some(1) && printed.contains("mask.tif") && printed.contains(reason), "{printed}");
        }
        assert_succeeds(&site.segment(&["--resume"]));
        assert!(fs::read(site.at("out/a/mask.tif")).unwrap() == original);
        assert_succeeds(&site.infer(&["check", "out"]));
    }
}

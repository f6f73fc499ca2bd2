//! Pinned key beside the program: no unsigned model runs, whatever the state of the key file.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Output;

use crate::{copy_program, data, printed, run, slide};

/// Temporary folder with a copy of the program, a signed model, an unsigned model and a slide.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        fs::create_dir(site.at("bin")).unwrap();
        copy_program(&site.at("bin/infer"));
        fs::copy(data("format-1.onnx"), site.at("signed.onnx")).unwrap();
        fs::copy(data("format-1.onnx.minisig"), site.at("signed.onnx.minisig")).unwrap();
        fs::copy(data("format-1.onnx"), site.at("unsigned.onnx")).unwrap();
        slide(&site.at("a.png"));
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pin(&self) -> PathBuf {
        self.at("bin/trusted.pub")
    }

    fn infer(&self, arguments: &[&str]) -> Output {
        run(&self.at("bin/infer"), &self.at("cache"), arguments)
    }

    fn verify(&self, model: &str) -> Output {
        self.infer(&["verify", &self.at(model).display().to_string(), "--device", "native"])
    }

    fn segment(&self, model: &str, out: &str) -> Output {
        let [model, slide, out] = [model, "a.png", out].map(|name| self.at(name).display().to_string());
        self.infer(&["segment", &model, &slide, "-o", &out, "--mpp", "0.5", "--tile", "160", "--halo", "32", "--device", "native"])
    }

    /// Asserts that every command that runs a model refuses this one, with an error that contains `reason`.
    #[track_caller]
    fn assert_refused(&self, model: &str, reason: &str) {
        let path = self.at(model).display().to_string();
        for output in [self.verify(model), self.segment(model, "refused"), self.infer(&["doctor", "--speed", &path])] {
            let printed = printed(&output);
            assert_eq!(output.status.code(), Some(1), "{printed}");
            assert!(printed.contains(reason) && printed.contains("hint: "), "{reason}: {printed}");
            assert!(!printed.contains("sound on") && !printed.contains("megapixels a second"), "{printed}");
        }
        assert!(!self.at("refused").exists());
    }
}

#[test]
fn without_a_pinned_key_every_model_runs() {
    let site = Site::new();
    for output in [site.verify("unsigned.onnx"), site.segment("unsigned.onnx", "out")] {
        assert!(output.status.success(), "{}", printed(&output));
    }
}

#[test]
fn with_a_pinned_key_only_a_signed_model_runs() {
    let site = Site::new();
    fs::copy(data("format-1.pub"), site.pin()).unwrap();
    let verified = site.verify("signed.onnx");
    assert!(verified.status.success() && printed(&verified).contains("signed by "), "{}", printed(&verified));
    let segmented = site.segment("signed.onnx", "out");
    assert!(segmented.status.success(), "{}", printed(&segmented));
    assert!(fs::read_to_string(site.at("out/a/summary.json")).unwrap().contains("sha256"));
    site.assert_refused("unsigned.onnx", "is not signed");

    let mut bytes = fs::read(site.at("signed.onnx")).unwrap();
    bytes[20] ^= 1;
    fs::write(site.at("signed.onnx"), bytes).unwrap();
    site.assert_refused("signed.onnx", "signed.onnx");
}

/// These files are not keys, but each of them shows the intention to pin one.
#[test]
fn an_invalid_pinned_key_refuses_every_model() {
    let site = Site::new();
    let pin = site.pin();
    let both_refused = || ["signed.onnx", "unsigned.onnx"].map(|model| site.assert_refused(model, "trusted.pub"));
    symlink("nowhere.pub", &pin).unwrap();
    both_refused();
    fs::remove_file(&pin).unwrap();
    symlink("trusted.pub", &pin).unwrap();
    both_refused();
    fs::remove_file(&pin).unwrap();
    fs::create_dir(&pin).unwrap();
    both_refused();
    fs::remove_dir(&pin).unwrap();
    for content in ["", "\n", "no key"] {
        fs::write(&pin, content).unwrap();
        both_refused();
    }
}

/// Root can read every file and search every folder, so that the model is then refused because of its missing signature.
#[test]
fn an_unreadable_pinned_key_refuses_unsigned_models() {
    let site = Site::new();
    let pin = site.pin();
    let mode = |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    fs::copy(data("format-1.pub"), &pin).unwrap();
    mode(pin.clone(), 0o000);
    let is_root = fs::read(&pin).is_ok();
    let reason = if is_root { "is not signed" } else { "trusted.pub" };
    site.assert_refused("unsigned.onnx", reason);

    fs::create_dir(site.at("closed")).unwrap();
    mode(pin.clone(), 0o644);
    fs::rename(&pin, site.at("closed/key.pub")).unwrap();
    symlink(site.at("closed/key.pub"), &pin).unwrap();
    mode(site.at("closed"), 0o000);
    site.assert_refused("unsigned.onnx", reason);
    mode(site.at("closed"), 0o755);
}

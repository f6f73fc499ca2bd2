//! Signatures: any change of a signed model, its signature or its key is detected.

use std::fs;
use std::path::{Path, PathBuf};

use crate::reference::formula_weights;
use export::Options;
use export::keys::{self, Password};
use infer::model::Model;
use infer::signature;
use models::unet::{UNetConfig, unet};
use models::weights::WeightsFile;
use support::console::Silent;

/// A small signed model with its keys, in a temporary folder.
struct Signed {
    folder: tempfile::TempDir,
    model: PathBuf,
    key: PathBuf,
}

fn model_at(path: &Path, width: usize) {
    let config = UNetConfig { encoder_width: width, decoder_channels: [2; 5], ..UNetConfig::default() };
    let weights = path.with_extension("safetensors");
    WeightsFile { arrays: formula_weights(&unet(&config)), ..WeightsFile::default() }.write(&weights).unwrap();
    export::onnx(&weights, path, &Options::default(), &Silent).unwrap();
}

fn signed() -> Signed {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("nuclei.onnx");
    model_at(&model, 2);
    let [secret, key] = keys::generate(&folder.path().join("lab"), &Password::None).unwrap();
    keys::sign(&model, &secret, &Password::None).unwrap();
    Signed { folder, model, key }
}

fn check(model: &Path, key: &Path) -> support::Result<Option<signature::Signed>> {
    signature::check(&Model::open(model)?, model, Some(key))
}

#[test]
fn a_valid_signature_is_accepted_and_its_comment_names_the_file() {
    let Signed { model, key, .. } = &signed();
    let held = check(model, key).unwrap().unwrap();
    assert!(held.comment.contains(&Model::open(model).unwrap().sha256), "{held:?}");
    assert_eq!(signature::check(&Model::open(model).unwrap(), model, None).unwrap(), None);
}

#[test]
fn a_signature_by_another_key_and_a_file_that_is_no_model_are_never_replaced() {
    let Signed { folder, model, .. } = &signed();
    let signature_file = signature::path_of(model);
    let own = fs::read(&signature_file).unwrap();
    let [other, _] = keys::generate(&folder.path().join("other"), &Password::None).unwrap();
    let error = keys::sign(model, &other, &Password::None).unwrap_err();
    assert!(error.to_string().contains("nuclei.onnx.minisig") && error.hint_text().is_some(), "{error:?}");
    assert_eq!(fs::read(&signature_file).unwrap(), own);
    keys::sign(model, &folder.path().join("lab.key"), &Password::None).unwrap();
    let weights = model.with_extension("safetensors");
    for (output, name) in [(&weights, "nuclei.safetensors"), (&other, "other.key")] {
        let error = export::onnx(&weights, output, &Options::default(), &Silent).unwrap_err();
        assert!(error.to_string().contains(name) && error.hint_text().is_some(), "{error:?}");
    }
    export::onnx(&weights, model, &Options::default(), &Silent).unwrap();
}

/// Twenty changed bytes of the model, and six other manipulations of model and signature.
#[test]
fn tampering_with_model_or_signature_is_rejected_with_the_file_s_name() {
    let Signed { folder, model, key } = &signed();
    let at = |name: &str| folder.path().join(name);
    let good = fs::read(model).unwrap();
    let signature_file = signature::path_of(model);
    let good_signature = fs::read_to_string(&signature_file).unwrap();
    let rejected = |change: &str| {
        let error = check(model, key).expect_err(change);
        assert!(error.to_string().contains("nuclei.onnx") && error.hint_text().is_some(), "{change}: {error:?}");
        fs::write(model, &good).unwrap();
        fs::write(&signature_file, &good_signature).unwrap();
        error.to_string()
    };
    for i in 0..20 {
        let mut changed = good.clone();
        changed[i * (good.len() - 1) / 19] ^= 1 << (i % 8);
        fs::write(model, changed).unwrap();
        rejected(&format!("byte {i} of 20"));
    }
    fs::write(model, &good[..good.len() / 2]).unwrap();
    rejected("half a model");
    model_at(&at("other.onnx"), 3);
    fs::copy(at("other.onnx"), model).unwrap();
    assert!(rejected("another whole model").contains("does not hold"));
    fs::remove_file(&signature_file).unwrap();
    assert!(rejected("no signature").contains("not signed"));
    let [stranger, _] = keys::generate(&at("stranger"), &Password::None).unwrap();
    fs::remove_file(&signature_file).unwrap();
    keys::sign(model, &stranger, &Password::None).unwrap();
    assert!(rejected("another's signature").contains("does not hold"));
    fs::write(&signature_file, good_signature.replace("sha256", "sha255")).unwrap();
    rejected("an edited comment");
    fs::write(&signature_file, "signature").unwrap();
    assert!(rejected("no signature in the file").contains("not a signature"));
    check(model, key).unwrap();
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_a_secret_key() {
    use std::os::unix::fs::PermissionsExt;
    let Signed { folder, key, .. } = &signed();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("lab.key")), 0o600);
    assert_ne!(mode(key), 0o600);
}

#[test]
fn keys_are_checked_and_never_overwritten() {
    let Signed { folder, model, key } = &signed();
    let again = keys::generate(&folder.path().join("lab"), &Password::None).unwrap_err();
    assert!(again.to_string().contains("exists already"), "{again}");
    let error = keys::sign(model, key, &Password::None).unwrap_err();
    assert!(error.to_string().contains("lab.pub") && error.hint_text().is_some(), "{error:?}");
    let error = check(model, &folder.path().join("lab.key")).unwrap_err();
    assert!(error.to_string().contains("not a public key"), "{error}");
}

/// Takes about 1 GiB of memory and some seconds, because the key derivation is deliberately expensive.
#[test]
fn an_encrypted_key_needs_its_password() {
    let Signed { folder, model, .. } = &signed();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("password"), "correct horse\n").unwrap();
    fs::write(at("wrong"), "battery\n").unwrap();
    let [secret, public] = keys::generate(&at("guarded"), &Password::File(at("password"))).unwrap();
    assert!(keys::sign(model, &secret, &Password::None).unwrap_err().to_string().contains("encrypted"));
    assert!(keys::sign(model, &secret, &Password::File(at("wrong"))).is_err());
    fs::remove_file(signature::path_of(model)).unwrap();
    keys::sign(model, &secret, &Password::File(at("password"))).unwrap();
    check(model, &public).unwrap();
}

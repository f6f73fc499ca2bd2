//! Detached signatures of model files: Ed25519 over `BLAKE2b` in the file format of minisign, checked without network access.
//!
//! The seal inside a model detects damage; a signature detects forgery. The signature covers every byte of the file, including card and golden
//! tiles. Its trusted comment, which repeats the file's sha256 and name, is signed too.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};
use support::{Context, Error, Result, bail, durable};

use crate::model::Model;

/// Suffix that the name of a signature file adds to the model's name.
pub const SUFFIX: &str = ".minisig";
/// Name of the pinned public key beside the program. If the key exists, unsigned models are refused.
pub const PINNED: &str = "trusted.pub";
/// Maximum size of a key or signature file in bytes.
const MAX_BYTES: u64 = 1 << 14;

/// Valid signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// File of the public key.
    pub key: PathBuf,
    /// Trusted comment of the signer, which is signed with the file.
    pub comment: String,
}

/// Returns the path of a model's signature file.
pub fn path_of(model: &Path) -> PathBuf {
    let mut name = model.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// Returns the key that is pinned beside the running program; `None` only if no file of the name [`PINNED`] exists there.
///
/// # Errors
/// A folder of the program that is unknown, was removed or cannot be searched, because a pinned key cannot be excluded then.
pub fn pinned() -> Result<Option<PathBuf>> {
    let hint = || "a model may be run only if it is certain that no key is pinned: name the key by --key";
    let program = std::env::current_exe().doing(|| format!("finding the program's folder, which may contain {PINNED}")).hint(hint)?;
    pinned_beside(&program).hint(hint)
}

/// Returns the key in the folder of `program`.
fn pinned_beside(program: &Path) -> Result<Option<PathBuf>> {
    let key = program.with_file_name(PINNED);
    let doing = || format!("looking for the pinned key {}", key.display());
    match key.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A missing name is conclusive only in a folder that exists.
            program.parent().unwrap_or(program).metadata().doing(doing)?;
            Ok(None)
        }
        looked => looked.map(|_| Some(key.clone())).doing(doing),
    }
}

/// Opens a model to run it: checks the seal, and the signature if a key is given or pinned.
///
/// Every command that runs a model opens the file by this function.
pub fn open(path: &Path, key: Option<&Path>) -> Result<(Model, Option<Signed>)> {
    let model = Model::open(path)?;
    let signed = check(&model, path, key)?;
    Ok((model, signed))
}

/// Checks the signature of a model by the given key, or else by the pinned one; returns `None` without a key.
///
/// # Errors
/// An error of [`pinned`], or a signature that is missing, was made by another key or belongs to another file; all errors name the files.
pub fn check(model: &Model, path: &Path, key: Option<&Path>) -> Result<Option<Signed>> {
    let key = match key {
        Some(key) => Some(key.to_path_buf()),
        None => pinned()?,
    };
    let Some(key) = key else { return Ok(None) };
    let written = text(&key).hint(|| "models run only if this public key can be read: restore the key file")?;
    let public = PublicKey::decode(&written).map_err(|error| {
        Error::new(format!("{}: not a public key: {error}", key.display())).hint("`export keygen` writes KEY.pub beside KEY.key")
    })?;
    let file = path_of(path);
    if !file.exists() {
        bail!(Refused; "{} is not signed: there is no {}", path.display(), file.display(); hint: "ask whoever made the model for its signature, or sign it: export sign {}", path.display());
    }
    let signature = Signature::decode(&text(&file)?).map_err(|error| {
        Error::new(format!("{}: not a signature: {error}", file.display())).hint("ask whoever made the model for it again")
    })?;
    public.verify(&model.bytes, &signature, false).map_err(|error| {
        Error::new(format!("{}: the signature {} does not hold for the key {}: {error}", path.display(), file.display(), key.display()))
            .of_kind(support::ErrorKind::Refused)
            .hint("the model or its signature was changed or belongs to another, or another key signed it: do not use it")
    })?;
    let comment = signature.trusted_comment().to_owned();
    if !comment.contains(&model.sha256) {
        bail!(Refused; "{}: the signed comment does not name the sha256 {}", file.display(), model.sha256; hint: "sign it by `export sign`");
    }
    Ok(Some(Signed { key, comment }))
}

/// Reads a text file of at most [`MAX_BYTES`].
fn text(path: &Path) -> Result<String> {
    String::from_utf8(durable::read(path, MAX_BYTES)?).doing(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_pinned_only_if_the_folder_exists_without_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("infer");
        let key = folder.path().join(PINNED);
        assert_eq!(pinned_beside(&program).unwrap(), None);
        std::fs::write(&key, b"").unwrap();
        assert_eq!(pinned_beside(&program).unwrap(), Some(key.clone()));
        // These folders do not exist, so a pinned key cannot be excluded.
        for unknown in ["gone/infer", "trusted.pub/infer"] {
            let error = pinned_beside(&folder.path().join(unknown)).unwrap_err().to_string();
            assert!(error.contains("looking for the pinned key") && error.contains(unknown.split('/').next().unwrap()), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_counts_as_a_pinned_key_even_if_it_is_dangling() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join(PINNED);
        for target in ["nowhere", PINNED] {
            std::os::unix::fs::symlink(target, &key).unwrap();
            assert_eq!(pinned_beside(&folder.path().join("infer")).unwrap(), Some(key.clone()));
            std::fs::remove_file(&key).unwrap();
        }
    }
}

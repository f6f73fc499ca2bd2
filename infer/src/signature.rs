//! Who made this model? A detached signature (Ed25519 over `BLAKE2b`, the file format of minisign) answers; nothing is asked of a network.
//!
//! The seal inside a model finds damage; a signature finds intent. It covers every byte of the file, card and golden tiles included, and
//! its trusted comment, which repeats the file's sha256 and name, is signed too.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};
use support::{Context, Error, Result, artifact, bail};

use crate::model::Model;

/// What a signature file is called: that of the model with this behind it.
pub const SUFFIX: &str = ".minisig";
/// The key beside the program without which nothing unsigned is run.
pub const PINNED: &str = "trusted.pub";
/// Larger than any key or signature.
const MAX_BYTES: u64 = 1 << 14;

/// A signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The key's file.
    pub key: PathBuf,
    /// What the signer wrote, signed with the file.
    pub comment: String,
}

/// The signature file of a model.
pub fn path_of(model: &Path) -> PathBuf {
    let mut name = model.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// The key that is pinned beside the running program; `None` only if nothing of the name [`PINNED`] lies there.
///
/// # Errors
/// Whatever leaves the question open: the program's folder is unknown, is gone or cannot be searched.
pub fn pinned() -> Result<Option<PathBuf>> {
    let hint = || "a model may be run only if it is certain that no key is pinned: name the key by --key";
    let program = std::env::current_exe().doing(|| format!("finding the program's folder, where {PINNED} may lie")).hint(hint)?;
    pinned_beside(&program).hint(hint)
}

fn pinned_beside(program: &Path) -> Result<Option<PathBuf>> {
    let key = program.with_file_name(PINNED);
    let doing = || format!("looking for the pinned key {}", key.display());
    match key.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // The name is missing only in a folder that is there.
            program.parent().unwrap_or(program).metadata().doing(doing)?;
            Ok(None)
        }
        looked => looked.map(|_| Some(key.clone())).doing(doing),
    }
}

/// Opens a model to run it: the file is whole, and signed where a key is given or pinned.
///
/// Every command that runs a model which it was given opens it here.
pub fn open(path: &Path, key: Option<&Path>) -> Result<(Model, Option<Signed>)> {
    let model = Model::open(path)?;
    let signed = check(&model, path, key)?;
    Ok((model, signed))
}

/// Checks a model against a key: that which is given, else the pinned one; `None` where there is neither.
///
/// # Errors
/// No certainty about the pinned key ([`pinned`]), no signature beside the model, one by another key, one of another file: all name the files.
pub fn check(model: &Model, path: &Path, key: Option<&Path>) -> Result<Option<Signed>> {
    let key = match key {
        Some(key) => Some(key.to_path_buf()),
        None => pinned()?,
    };
    let Some(key) = key else { return Ok(None) };
    let written = text(&key).hint(|| "no model is run without the public key that must have signed it: put the key there again")?;
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

fn text(path: &Path) -> Result<String> {
    String::from_utf8(artifact::read(path, MAX_BYTES)?).doing(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_name_in_a_folder_that_is_there_means_that_no_key_is_pinned() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("infer");
        let key = folder.path().join(PINNED);
        assert_eq!(pinned_beside(&program).unwrap(), None);
        std::fs::write(&key, b"").unwrap();
        assert_eq!(pinned_beside(&program).unwrap(), Some(key.clone()));
        // Neither of these folders says anything about a key.
        for unknown in ["gone/infer", "trusted.pub/infer"] {
            let error = pinned_beside(&folder.path().join(unknown)).unwrap_err().to_string();
            assert!(error.contains("looking for the pinned key") && error.contains(unknown.split('/').next().unwrap()), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_a_pin_wherever_it_leads() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join(PINNED);
        for target in ["nowhere", PINNED] {
            std::os::unix::fs::symlink(target, &key).unwrap();
            assert_eq!(pinned_beside(&folder.path().join("infer")).unwrap(), Some(key.clone()));
            std::fs::remove_file(&key).unwrap();
        }
    }
}

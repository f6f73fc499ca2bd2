//! Who made this model? A detached signature (Ed25519 over `BLAKE2b`, the file format of minisign) answers; nothing is asked of a network.
//!
//! The seal inside a model finds damage; a signature finds intent. It covers every byte of the file, card and golden tiles included, and
//! its trusted comment, which repeats the file's sha256 and name, is signed too.

use std::path::{Path, PathBuf};

use minisign_verify::{PublicKey, Signature};
use support::{Context, Error, Result, artifact, bail};

use crate::segmenter::Model;

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

/// The key that is pinned beside the running program, if there is one.
pub fn pinned() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name(PINNED);
    beside.exists().then_some(beside)
}

/// Checks a model against a key: that which is given, else the pinned one; `None` where there is neither.
///
/// # Errors
/// No signature beside the model, one by another key, one of another file: all name the files.
pub fn check(model: &Model, path: &Path, key: Option<&Path>) -> Result<Option<Signed>> {
    let Some(key) = key.map(Path::to_path_buf).or_else(pinned) else { return Ok(None) };
    let public = PublicKey::decode(&text(&key)?).map_err(|error| {
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

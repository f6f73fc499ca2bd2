//! Puts the native libraries into the cache, or into a folder to copy to a machine without network.

use std::path::{Path, PathBuf};

use models::{Result, artifact, bail};

use super::Library;
use models::wheel;

const MAX_LIBRARY_BYTES: u64 = 256 << 20;

/// What [`install`] did with one library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Which.
    pub library: Library,
    /// Where it is now.
    pub path: PathBuf,
    /// Whether it was written; it was there already otherwise.
    pub written: bool,
}

/// Installs ONNX Runtime and `OpenSlide` into `into` (default: `lib/` in the cache), from the wheels in `from` or by `pip`.
///
/// Libraries that are there with the pinned hash are left alone, without looking for wheels.
pub fn install(from: Option<&Path>, into: Option<&Path>) -> Result<Vec<Installed>> {
    [Library::OnnxRuntime, Library::OpenSlide].into_iter().map(|library| install_library(library, from, into)).collect()
}

/// Installs one library with what it needs beside it, as [`install`] does.
pub fn install_library(library: Library, from: Option<&Path>, into: Option<&Path>) -> Result<Installed> {
    let folder = match into {
        Some(folder) => folder.to_owned(),
        None => wheel::cache_folder()?.join("lib"),
    };
    let mut written = false;
    for (member, sha256) in library.members() {
        let path = place(&folder, member);
        if !(path.is_file() && artifact::sha256_of_file(&path)? == *sha256) {
            artifact::write(&path, &unpacked(library, member, sha256, from)?)?;
            written = true;
        }
    }
    Ok(Installed { library, path: place(&folder, library.members()[0].0), written })
}

fn place(folder: &Path, member: &str) -> PathBuf {
    folder.join(Path::new(member).file_name().expect("members are files"))
}

fn unpacked(library: Library, member: &str, sha256: &str, from: Option<&Path>) -> Result<Vec<u8>> {
    let wheel = wheel::fetch(library.wheel(), from)?;
    let bytes = wheel::read_member(&wheel, member, MAX_LIBRARY_BYTES)?;
    let found = artifact::sha256(&bytes);
    if found != sha256 {
        bail!("{member} in {}: expected sha256 {sha256}, found {found}", wheel.display());
    }
    Ok(bytes)
}

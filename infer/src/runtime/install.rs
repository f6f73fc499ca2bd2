//! Puts the native libraries into the cache, or into a folder to copy to a machine without network.

use std::path::{Path, PathBuf};

use models::{Result, artifact, bail};

use super::Library;
use crate::wheel;

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

/// Installs every library into `into` (default: `lib/` in the cache), from the wheels in `from` or by `pip`.
///
/// Libraries that are there with the pinned hash are left alone, without looking for wheels.
pub fn install(from: Option<&Path>, into: Option<&Path>) -> Result<Vec<Installed>> {
    let folder = match into {
        Some(folder) => folder.to_owned(),
        None => wheel::cache_folder()?.join("lib"),
    };
    Library::ALL.into_iter().map(|library| install_one(library, from, &folder)).collect()
}

fn install_one(library: Library, from: Option<&Path>, folder: &Path) -> Result<Installed> {
    let file = Path::new(library.member()).file_name().expect("members are files");
    let path = folder.join(file);
    if path.is_file() && artifact::sha256_of_file(&path)? == library.sha256() {
        return Ok(Installed { library, path, written: false });
    }
    let wheel = wheel::fetch(library.wheel(), from)?;
    let bytes = wheel::read_member(&wheel, library.member(), MAX_LIBRARY_BYTES)?;
    let found = artifact::sha256(&bytes);
    if found != library.sha256() {
        bail!("{} in {}: expected sha256 {}, found {found}", library.member(), wheel.display(), library.sha256());
    }
    artifact::write(&path, &bytes)?;
    Ok(Installed { library, path, written: true })
}

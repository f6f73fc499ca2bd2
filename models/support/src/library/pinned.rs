//! Hash check of native libraries before they are loaded.
//!
//! A library in the cache or in `lib/` beside the program is loaded only if it is, byte for byte, a file of a pinned wheel. A library that
//! an option or an environment variable names is the user's choice and is loaded without a check; its hash is logged at debug level.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::members::Member;
use super::{Found, Library, Place, locate};
use crate::{Result, bail, durable};

/// Finds a library as [`locate`] does, and checks its file and the files of its package that lie beside it.
pub fn locate_checked(library: Library, requested: Option<&Path>) -> Result<Found> {
    let found = locate(library, requested)?;
    check_pinned(library, &found)?;
    Ok(found)
}

/// Checks a file that is about to be loaded, and the files of `library` in the same folder, which are loaded with it.
pub fn check_pinned(library: Library, found: &Found) -> Result<()> {
    match loaded_with(library, &found.path).as_slice() {
        [one] => check_file(library, one, found.place),
        // CUDA's files have 1.7 GB together: several seconds on one core.
        many => many.par_iter().try_for_each(|file| check_file(library, file, found.place)),
    }
}

/// Returns the file itself, then the other files of `library` that exist in its folder.
fn loaded_with(library: Library, path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let members = library.members().iter().map(|member| folder.join(member.file()));
    let is_missing = |file: &PathBuf| file.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    std::iter::once(path.to_owned()).chain(members.filter(|file| file != path && !is_missing(file))).collect()
}

/// Checks a file from the cache or from beside the program; logs the hash of a file that the user named.
fn check_file(library: Library, path: &Path, place: Place) -> Result<()> {
    match place {
        Place::Flag | Place::Variable(_) => {
            if tracing::enabled!(tracing::Level::DEBUG) {
                tracing::debug!("{}, which {place} names, has the sha256 {}", path.display(), durable::sha256_of_file(path)?);
            }
            Ok(())
        }
        Place::BesideProgram | Place::Cache => check_hash(library, path).map_err(|error| {
            // The libraries of CUDA are taken from the folder of ONNX Runtime.
            let named = if library == Library::Cuda { Library::OnnxRuntime } else { library };
            let (option, variable) = (library.install_option(), named.variables()[0]);
            error.during(format!("checking {} of {place} before it is loaded", path.display())).hint(format!(
                "`infer runtime install{option}` puts the pinned file there (`--into lib` beside the program); to use this one all the same, name it by {variable}"
            ))
        }),
    }
}

/// Checks that a file has the name and the hash of a file of a pinned wheel.
fn check_hash(library: Library, path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default();
    let of_name = |member: &&Member| name == member.file();
    // ONNX Runtime has one name and two hashes: the build for CPUs and the build for NVIDIA GPUs.
    let expected: Vec<&str> = Library::ALL.into_iter().flat_map(Library::members).filter(of_name).map(|member| member.sha256).collect();
    if expected.is_empty() {
        bail!("{} is none of the files that are pinned for {}", name.display(), library.name());
    }
    if !path.is_file() {
        bail!("it is no regular file");
    }
    let found = durable::sha256_of_file(path)?;
    if !expected.contains(&found.as_str()) {
        bail!("expected sha256 {}, found {found}", expected.join(" or "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "libonnxruntime.so.1.31.1";

    fn refused(name: &str, place: Place) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, b"something else").unwrap();
        let error = check_pinned(Library::OnnxRuntime, &Found { path, place }).unwrap_err();
        assert!(error.hint_text().unwrap().contains("NUCLEI_ONNXRUNTIME"), "{error:?}");
        error.to_string()
    }

    #[test]
    fn only_pinned_files_are_accepted_in_the_cache_and_beside_the_program() {
        for place in [Place::Cache, Place::BesideProgram] {
            let error = refused(FILE, place);
            let hash = Library::OnnxRuntime.members()[0].sha256;
            assert!(error.contains(FILE) && error.contains(hash) && error.contains(&durable::sha256(b"something else")), "{error}");
            assert!(refused("libonnxruntime.so.9.9.9", place).contains("none of the files that are pinned for ONNX Runtime"));
        }
    }

    #[test]
    fn a_library_the_user_names_is_not_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, b"something else").unwrap();
        for place in [Place::Flag, Place::Variable("NUCLEI_ONNXRUNTIME")] {
            check_pinned(Library::OnnxRuntime, &Found { path: path.clone(), place }).unwrap();
        }
    }

    #[test]
    fn files_of_the_same_library_in_the_folder_are_checked_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let [plugin, other] = [0, 2].map(|i| folder.path().join(Library::OpenVino.members()[i].file()));
        std::fs::write(&plugin, b"").unwrap();
        std::fs::write(&other, b"").unwrap();
        std::fs::write(folder.path().join(FILE), b"").unwrap();
        assert_eq!(loaded_with(Library::OpenVino, &plugin), [plugin.clone(), other]);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        let error = check_pinned(Library::OnnxRuntime, &Found { path, place: Place::Cache }).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
    }
}

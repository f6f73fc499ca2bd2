//! Loading of the CUDA and cuDNN libraries that are installed beside an ONNX Runtime for NVIDIA GPUs.
//!
//! The providers of ONNX Runtime request these libraries from the dynamic linker by name, and the linker does not search the folder of the
//! provider. Libraries that are already loaded are found by name, so the libraries are loaded before the providers. Libraries that are
//! missing in the folder are taken from the system.

use std::path::Path;
use std::sync::Mutex;

use support::{Context, Result};

use support::library::{Found, Library, Member, check_pinned};

/// Loaded libraries, which are kept until the process ends because providers hold pointers to their functions.
static LOADED: Mutex<Vec<libloading::Library>> = Mutex::new(Vec::new());

/// Loads the libraries beside ONNX Runtime's file after checking every file there; later calls do nothing.
///
/// # Errors
/// A file that is not the pinned one, unless the user chose the folder, or a file that cannot be loaded.
pub fn load_beside(runtime: &Found) -> Result<()> {
    let mut loaded_libraries = LOADED.lock().expect("no panic while libraries are loaded");
    if loaded_libraries.is_empty() {
        check_pinned(Library::Cuda, runtime)?;
        *loaded_libraries = load(runtime.path.parent().unwrap_or(Path::new(".")), Library::Cuda.members())?;
    }
    Ok(())
}

/// Loads the files of `members` that exist in the folder, in order, except those of ONNX Runtime itself.
fn load(folder: &Path, members: &[Member]) -> Result<Vec<libloading::Library>> {
    let files = members.iter().map(Member::file).filter(|file| !file.starts_with("libonnxruntime"));
    let existing = files.map(|file| folder.join(file)).filter(|path| path.is_file());
    // SAFETY: running a library's initialisers is the point of loading it; the files are pinned, or lie beside the user's own ONNX Runtime.
    let loaded = existing.map(|path| unsafe { libloading::Library::new(&path) }.doing(|| format!("loading {}", path.display())));
    loaded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_in_the_folder_are_loaded_and_missing_ones_are_left_to_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let cuda = Library::Cuda.members();
        assert!(load(folder.path(), cuda).unwrap().is_empty());
        // The runtime itself loads its providers.
        std::fs::write(folder.path().join("libonnxruntime_providers_cuda.so"), b"no library").unwrap();
        assert!(load(folder.path(), cuda).unwrap().is_empty());
        std::fs::write(folder.path().join("libcudnn.so.9"), b"no library").unwrap();
        let error = load(folder.path(), cuda).err().unwrap().to_string();
        assert!(error.contains("libcudnn.so.9"), "{error}");
    }
}

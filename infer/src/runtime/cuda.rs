//! The libraries of CUDA and cuDNN that lie beside an ONNX Runtime for NVIDIA GPUs.
//!
//! Its providers ask the system for them by name, and the system does not look beside the file that asks. What is loaded already is
//! found by its name; so they are loaded first. Where they do not lie there, the system's own are taken.

use std::path::Path;
use std::sync::Mutex;

use support::{Context, Result};

use support::library::{Found, Library, Member, check_pinned};

/// Kept to the end: providers hold functions of theirs.
static KEPT: Mutex<Vec<libloading::Library>> = Mutex::new(Vec::new());

/// Loads what lies beside ONNX Runtime's file, once, after every file there has been checked.
///
/// # Errors
/// A file that is there and is not the pinned one (where the folder is not the user's choice), or that cannot be loaded.
pub fn load_beside(runtime: &Found) -> Result<()> {
    let mut kept = KEPT.lock().expect("no panic while libraries are loaded");
    if kept.is_empty() {
        check_pinned(Library::Cuda, runtime)?;
        *kept = load(runtime.path.parent().unwrap_or(Path::new(".")), Library::Cuda.members())?;
    }
    Ok(())
}

/// Those of `members` that are in the folder and are none of ONNX Runtime's own, in their order.
fn load(folder: &Path, members: &[Member]) -> Result<Vec<libloading::Library>> {
    let files = members.iter().map(Member::file).filter(|file| !file.starts_with("libonnxruntime"));
    let there = files.map(|file| folder.join(file)).filter(|path| path.is_file());
    // SAFETY: running a library's initialisers is the point of loading it; the files are pinned, or lie beside the user's own ONNX Runtime.
    let loaded = there.map(|path| unsafe { libloading::Library::new(&path) }.doing(|| format!("loading {}", path.display())));
    loaded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_there_is_loaded_and_what_does_not_is_left_to_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let cuda = Library::Cuda.members();
        assert!(load(folder.path(), cuda).unwrap().is_empty());
        // The runtime's own providers are loaded by the runtime.
        std::fs::write(folder.path().join("libonnxruntime_providers_cuda.so"), b"no library").unwrap();
        assert!(load(folder.path(), cuda).unwrap().is_empty());
        std::fs::write(folder.path().join("libcudnn.so.9"), b"no library").unwrap();
        let error = load(folder.path(), cuda).err().unwrap().to_string();
        assert!(error.contains("libcudnn.so.9"), "{error}");
    }
}

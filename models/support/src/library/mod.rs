//! Native libraries that are loaded at run time: their files, and the search for each.
//!
//! No native library is linked. The search order is: command-line option, environment variable, `lib/` beside the program, the cache that
//! `infer runtime install` fills.

mod members;
mod pinned;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Result, bail, wheel};

pub use members::Member;
pub use pinned::{check_pinned, locate_checked};

/// A native library that is loaded at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// ONNX Runtime, at least 1.28.1.
    OnnxRuntime,
    /// `OpenSlide`, at least 4.0.1.
    OpenSlide,
    /// Intel's `OpenVINO` as a plugin of ONNX Runtime, with its own libraries in the same folder. Optional.
    OpenVino,
    /// ONNX Runtime's provider for NVIDIA GPUs, with an ONNX Runtime, CUDA and cuDNN in the same folder. Optional.
    Cuda,
}

impl Library {
    /// All libraries, in the order of lists.
    pub const ALL: [Library; 4] = [Library::OnnxRuntime, Library::OpenSlide, Library::OpenVino, Library::Cuda];

    /// Returns the library's name for people.
    pub fn name(self) -> &'static str {
        match self {
            Library::OnnxRuntime => "ONNX Runtime",
            Library::OpenSlide => "OpenSlide",
            Library::OpenVino => "OpenVINO",
            Library::Cuda => "CUDA",
        }
    }

    /// Lists the environment variables for the library's path; the first one that is set wins. Other programs read `ORT_DYLIB_PATH` too.
    pub fn variables(self) -> &'static [&'static str] {
        match self {
            Library::OnnxRuntime => &["NUCLEI_ONNXRUNTIME", "ORT_DYLIB_PATH"],
            Library::OpenSlide => &["NUCLEI_OPENSLIDE"],
            Library::OpenVino => &["NUCLEI_OPENVINO"],
            Library::Cuda => &["NUCLEI_CUDA"],
        }
    }

    /// Returns the library's folder within a folder of libraries. CUDA has a subfolder, because its ONNX Runtime has the same file name as
    /// that for CPUs.
    pub fn folder(self, libraries: &Path) -> PathBuf {
        match self {
            Library::Cuda => libraries.join("cuda"),
            Library::OnnxRuntime | Library::OpenSlide | Library::OpenVino => libraries.to_owned(),
        }
    }

    /// Returns the option of `infer runtime install` that fetches the library, with a space before it; empty for libraries that are always installed.
    pub fn install_option(self) -> &'static str {
        match self {
            Library::OnnxRuntime | Library::OpenSlide => "",
            Library::OpenVino => " --openvino",
            Library::Cuda => " --cuda",
        }
    }

    /// Reports whether a file name is that of the library: `libonnxruntime.so.1.31.1`, not `libonnxruntime_providers_shared.so`.
    fn has_name(self, file: &str) -> bool {
        let stem = match self {
            Library::OnnxRuntime => "onnxruntime",
            Library::OpenSlide => "openslide",
            Library::OpenVino => "onnxruntime_providers_openvino_plugin",
            Library::Cuda => "onnxruntime_providers_cuda",
        };
        let rest = file.strip_prefix("lib").unwrap_or(file).strip_prefix(stem);
        rest.is_some_and(|rest| {
            [".so", ".so.", ".dylib", ".dll"].iter().any(|end| rest == *end || (end.ends_with('.') && rest.starts_with(end)))
                || (rest.starts_with('.') && Path::new(rest).extension().is_some_and(|end| end == "dylib"))
        })
    }
}

/// Origin of a library's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Command-line option.
    Flag,
    /// Environment variable of this name.
    Variable(&'static str),
    /// `lib/` beside the program.
    BesideProgram,
    /// Cache that `infer runtime install` fills.
    Cache,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Flag => f.write_str("the command line"),
            Place::Variable(name) => f.write_str(name),
            Place::BesideProgram => f.write_str("lib/ beside the program"),
            Place::Cache => f.write_str("the cache"),
        }
    }
}

/// A library's path and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Path of the library.
    pub path: PathBuf,
    /// Origin of the path.
    pub place: Place,
}

/// Searches for a library; `requested` is the value of the command-line option, a file or a folder that contains it.
///
/// # Errors
/// A path from the command line or a variable that does not exist (other places are not tried then), or a library that is in none of the
/// places; the error lists the places and the command that installs the library.
pub fn locate(library: Library, requested: Option<&Path>) -> Result<Found> {
    if let Some(path) = requested {
        return Ok(Found { path: file_at(library, path, Place::Flag)?, place: Place::Flag });
    }
    for &name in library.variables() {
        if let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) {
            let place = Place::Variable(name);
            return Ok(Found { path: file_at(library, Path::new(&value), place)?, place });
        }
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("lib")));
    let cache = wheel::cache_folder().ok().map(|folder| folder.join("lib"));
    for (folder, place) in [(&beside, Place::BesideProgram), (&cache, Place::Cache)] {
        let Some(folder) = folder else { continue };
        // On a machine with a GPU, the ONNX Runtime that can use the GPU comes first.
        let for_gpu = (library == Library::OnnxRuntime && has_nvidia()).then(|| Library::Cuda.folder(folder));
        if let Some(path) = for_gpu.into_iter().chain([library.folder(folder)]).find_map(|folder| pinned_or_other(library, &folder)) {
            return Ok(Found { path, place });
        }
    }
    let option = library.install_option();
    let shown = |folder: Option<PathBuf>| folder.map_or_else(|| "(unknown)".to_owned(), |folder| folder.display().to_string());
    bail!(
        NotFound; "{} was not found: {} not set, nothing in {} nor in {}", library.name(), library.variables().join(" and "), shown(beside), shown(cache);
        hint: "type `infer runtime install{option}`, or from a clone `cargo run --release -p infer -- runtime install{option}`; without network add `--from DIR`"
    )
}

/// Reports whether the NVIDIA driver is installed: on Linux itself, or on Windows for its Subsystem for Linux.
pub fn has_nvidia() -> bool {
    ["/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1"].iter().any(|file| Path::new(file).exists())
}

/// Resolves a path from the command line or a variable to an absolute file.
fn file_at(library: Library, path: &Path, place: Place) -> Result<PathBuf> {
    let found = if path.is_dir() { in_folder(library, path) } else { path.is_file().then(|| path.to_owned()) };
    match found {
        Some(path) => Ok(std::path::absolute(&path)?),
        None => {
            bail!("{} was not found at {}, which {place} names", library.name(), path.display(); hint: "name the library's file or its folder")
        }
    }
}

/// Finds the pinned file of a library in a folder, or else the file of [`in_folder`], which [`pinned`] then refuses.
fn pinned_or_other(library: Library, folder: &Path) -> Option<PathBuf> {
    let pinned = folder.join(library.members()[0].file());
    if pinned.is_file() { Some(pinned) } else { in_folder(library, folder) }
}

/// Finds the library in a folder; among several files the one with the highest version.
fn in_folder(library: Library, folder: &Path) -> Option<PathBuf> {
    let names = std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let best = names.filter(|name| library.has_name(name)).max_by_key(|name| (version_in(name), name.clone()))?;
    Some(folder.join(best))
}

/// Returns the numbers between the dots of a file name.
fn version_in(name: &str) -> Vec<u64> {
    name.split('.').filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_names_are_distinguished_from_similar_names() {
        for name in ["libonnxruntime.so", "libonnxruntime.so.1.31.1", "libonnxruntime.1.31.1.dylib", "onnxruntime.dll"] {
            assert!(Library::OnnxRuntime.has_name(name), "{name}");
        }
        for name in ["libonnxruntime_providers_shared.so", "libonnxruntime.so1", "libopenslide.so.1", "libonnxruntime.txt"] {
            assert!(!Library::OnnxRuntime.has_name(name), "{name}");
        }
        assert!(Library::OpenSlide.has_name("libopenslide.so.1"));
    }

    #[test]
    fn the_highest_version_in_a_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["1.9.0", "1.31.1", "1.28.1"] {
            std::fs::write(folder.path().join(format!("libonnxruntime.so.{version}")), b"").unwrap();
        }
        let found = locate(Library::OnnxRuntime, Some(folder.path())).unwrap();
        assert_eq!(found.path.file_name().unwrap(), "libonnxruntime.so.1.31.1");
        assert_eq!(found.place, Place::Flag);
    }

    #[test]
    fn the_pinned_version_is_found_beside_a_higher_one() {
        let folder = tempfile::tempdir().unwrap();
        let pinned = Library::OnnxRuntime.members()[0].file();
        std::fs::write(folder.path().join("libonnxruntime.so.9.9.9"), b"").unwrap();
        let found = |name| assert_eq!(pinned_or_other(Library::OnnxRuntime, folder.path()), Some(folder.path().join(name)));
        found("libonnxruntime.so.9.9.9");
        std::fs::write(folder.path().join(pinned), b"").unwrap();
        found(pinned);
    }

    #[test]
    fn a_requested_path_must_exist() {
        let error = locate(Library::OpenSlide, Some(Path::new("no/such/folder"))).unwrap_err().to_string();
        assert!(error.contains("no/such/folder") && error.contains("command line"), "{error}");
    }
}

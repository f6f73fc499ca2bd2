//! Loading of ONNX Runtime, once per process; the library stays loaded until the process ends.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use support::{Context, Result, bail};

use super::{Found, Library, disable_telemetry, locate, locate_checked};

/// Oldest version that is used, because earlier ones read out of bounds on damaged models.
const OLDEST: [u64; 3] = [1, 28, 1];

/// Loaded runtime. It is a static, which is never dropped, because ONNX Runtime crashes at exit if its environment is dropped before a session.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// ONNX Runtime with its environment.
struct Loaded {
    environment: Environment,
    found: Found,
    version: String,
    /// Handle that keeps the library mapped between the version check and the time when the binding opens it.
    _library: libloading::Library,
}

/// Loads ONNX Runtime from the path that [`locate`] finds; `requested` is the value of the command-line option. Later calls do nothing.
///
/// Telemetry is off: see [`disable_telemetry`], which a program with threads calls at the start of `main`.
///
/// # Errors
/// A library that is missing, differs from the pinned file (in the cache or beside the program), is too old, cannot be loaded, or is
/// another file than the one that is already loaded.
pub fn load(requested: Option<&Path>) -> Result<()> {
    environment(requested).map(|_| ())
}

/// Returns path and version of the loaded ONNX Runtime; `None` if none is loaded.
pub fn loaded() -> Option<(PathBuf, String)> {
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.as_ref().map(|loaded| (loaded.found.path.clone(), loaded.version.clone()))
}

/// Returns the path of the loaded ONNX Runtime and the origin of the path.
pub(super) fn loaded_from() -> Option<Found> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|loaded| loaded.found.clone())
}

/// Returns the environment of all sessions, after loading ONNX Runtime as [`load`] does.
pub(crate) fn environment(requested: Option<&Path>) -> Result<Environment> {
    let mut slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = slot.as_ref() {
        if let Some(requested) = requested {
            let requested = locate(Library::OnnxRuntime, Some(requested))?.path;
            if requested != loaded.found.path {
                bail!("ONNX Runtime is already loaded from {}, found {} requested", loaded.found.path.display(), requested.display(); hint: "a process can load only one");
            }
        }
        return Ok(loaded.environment.clone());
    }
    let found = locate_checked(Library::OnnxRuntime, requested)?;
    let loaded = open(&found)
        .doing(|| format!("loading ONNX Runtime from {}, which {} names", found.path.display(), found.place))
        .hint(|| "`infer runtime install` installs a version that works")?;
    tracing::debug!("ONNX Runtime {} from {}", loaded.version, found.path.display());
    Ok(slot.insert(loaded).environment.clone())
}

/// Loads a library file after checking its version.
fn open(found: &Found) -> Result<Loaded> {
    let path = &found.path;
    disable_telemetry();
    // SAFETY: running a library's initialisers is the point of loading it; the file is pinned, or the user chose it.
    let library = unsafe { libloading::Library::new(path)? };
    let version = version(&library)?;
    check_version(&version)?;
    let environment = ort::init_from(path)?.with_name("infer").with_telemetry(false).with_logger(Arc::new(log)).build()?;
    environment.set_log_level(LogLevel::Warning);
    Ok(Loaded { environment, found: found.clone(), version, _library: library })
}

/// Returns the version that the library itself reports, because file names are unreliable.
fn version(library: &libloading::Library) -> Result<String> {
    // SAFETY: `OrtGetApiBase` has had this signature since version 1 of ONNX Runtime's C interface; the pointer and the string
    // that it leads to are static data of the library, which outlives this function.
    unsafe {
        let base = library.get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase")?;
        let Some(base) = base().as_ref() else { bail!("OrtGetApiBase returned null") };
        Ok(CStr::from_ptr((base.GetVersionString)()).to_string_lossy().into_owned())
    }
}

/// Checks that a version is at least [`OLDEST`].
fn check_version(version: &str) -> Result<()> {
    let numbers: Vec<u64> = version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect();
    if numbers.as_slice() < OLDEST.as_slice() {
        bail!("expected version 1.28.1 or newer, found {version}");
    }
    Ok(())
}

/// Forwards a message of ONNX Runtime to the program's log; its category and source location are left out, except at trace level.
fn log(level: LogLevel, _category: &str, _id: &str, place: &str, message: &str) {
    match level {
        LogLevel::Verbose => tracing::trace!(target: "ort", place, "{message}"),
        LogLevel::Info => tracing::debug!(target: "ort", place, "{message}"),
        LogLevel::Warning => tracing::warn!(target: "ort", "{message}"),
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "ort", "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Place;
    use super::*;

    #[test]
    fn versions_with_known_faults_are_refused() {
        for good in ["1.28.1", "1.31.1", "2.0.0", "1.29.0-dev"] {
            check_version(good).unwrap();
        }
        for old in ["1.28.0", "1.9.9", "1.23.2", "1.28", "nonsense"] {
            assert!(check_version(old).unwrap_err().to_string().contains(old), "{old}");
        }
    }

    #[test]
    fn a_file_that_is_not_a_library_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, b"not a library").unwrap();
        assert!(open(&Found { path, place: Place::Flag }).is_err());
    }
}

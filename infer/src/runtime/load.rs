//! Loads ONNX Runtime once per process and keeps it until the process ends.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use support::{Context, Result, bail};

use super::{Found, Library, disable_telemetry, locate, locate_checked};

/// The oldest version that is used: earlier ones read out of bounds on damaged models.
const OLDEST: [u64; 3] = [1, 28, 1];

/// What was loaded. A static is never dropped: ONNX Runtime crashes at exit when its environment goes before a session.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

struct Loaded {
    environment: Environment,
    found: Found,
    version: String,
    /// Keeps the library mapped between the version check and the binding's own opening.
    _library: libloading::Library,
}

/// Loads ONNX Runtime from where [`locate`] finds it; `asked` is the flag's value. A second call does nothing.
///
/// Telemetry is off: see [`disable_telemetry`], which a program with threads calls first thing in `main`.
///
/// # Errors
/// Not found, not the pinned file (in the cache and beside the program), too old, not loadable, or another file than the one already loaded.
pub fn load(asked: Option<&Path>) -> Result<()> {
    environment(asked).map(|_| ())
}

/// Path and version of the loaded ONNX Runtime.
pub fn loaded() -> Option<(PathBuf, String)> {
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.as_ref().map(|loaded| (loaded.found.path.clone(), loaded.version.clone()))
}

/// Path of the loaded ONNX Runtime and what named it.
pub(super) fn loaded_from() -> Option<Found> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|loaded| loaded.found.clone())
}

/// The environment in which sessions are made.
pub(crate) fn environment(asked: Option<&Path>) -> Result<Environment> {
    let mut slot = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = slot.as_ref() {
        if let Some(asked) = asked {
            let asked = locate(Library::OnnxRuntime, Some(asked))?.path;
            if asked != loaded.found.path {
                bail!("ONNX Runtime is already loaded from {}, found {} asked for", loaded.found.path.display(), asked.display(); hint: "a process can load only one");
            }
        }
        return Ok(loaded.environment.clone());
    }
    let found = locate_checked(Library::OnnxRuntime, asked)?;
    let loaded = open(&found)
        .doing(|| format!("loading ONNX Runtime from {}, which {} names", found.path.display(), found.place))
        .hint(|| "`infer runtime install` fetches one that works")?;
    tracing::debug!("ONNX Runtime {} from {}", loaded.version, found.path.display());
    Ok(slot.insert(loaded).environment.clone())
}

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

/// Asks the library itself; file names lie.
fn version(library: &libloading::Library) -> Result<String> {
    // SAFETY: `OrtGetApiBase` has had this signature since version 1 of ONNX Runtime's C interface; the pointer and the string
    // that it leads to are static data of the library, which outlives this function.
    unsafe {
        let base = library.get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase")?;
        let Some(base) = base().as_ref() else { bail!("OrtGetApiBase gives nothing") };
        Ok(CStr::from_ptr((base.GetVersionString)()).to_string_lossy().into_owned())
    }
}

fn check_version(version: &str) -> Result<()> {
    let numbers: Vec<u64> = version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect();
    if numbers.as_slice() < OLDEST.as_slice() {
        bail!("expected version 1.28.1 or newer, found {version}");
    }
    Ok(())
}

/// ONNX Runtime's messages go where ours go; the category and place in its sources only help its developers.
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
    fn versions_older_than_the_fixed_ones_are_refused() {
        for good in ["1.28.1", "1.31.1", "2.0.0", "1.29.0-dev"] {
            check_version(good).unwrap();
        }
        for old in ["1.28.0", "1.9.9", "1.23.2", "1.28", "nonsense"] {
            assert!(check_version(old).unwrap_err().to_string().contains(old), "{old}");
        }
    }

    #[test]
    fn a_library_that_is_no_runtime_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        std::fs::write(&path, b"not a library").unwrap();
        assert!(open(&Found { path, place: Place::Flag }).is_err());
    }
}

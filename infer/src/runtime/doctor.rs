//! What is here and what is missing, each with what to type.

use models::Error;

use super::{Library, load, loaded, locate};
use models::wheel;

/// One thing that was looked at.
#[derive(Debug)]
pub struct Finding {
    /// What.
    pub what: String,
    /// What was found, or the error with its hint.
    pub state: Result<String, Error>,
    /// Whether models run without it.
    pub optional: bool,
}

/// Looks at everything that a run needs.
pub fn doctor() -> Vec<Finding> {
    let found = |library: Library| locate(library, None).map(|found| format!("{} (named by {})", found.path.display(), found.place));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    vec![
        Finding { what: "program".into(), state: Ok(format!("infer {}", env!("CARGO_PKG_VERSION"))), optional: false },
        Finding {
            what: "machine".into(),
            state: Ok(format!("{} on {}, {cores} cores{}", std::env::consts::OS, std::env::consts::ARCH, vector_units())),
            optional: false,
        },
        Finding { what: "cache".into(), state: wheel::cache_folder().map(|folder| folder.display().to_string()), optional: true },
        Finding { what: "own kernels".into(), state: Ok(format!("f32, {}", kernels::Isa::best().name())), optional: false },
        Finding { what: "ONNX Runtime".into(), state: onnx_runtime(), optional: true },
        Finding { what: "OpenSlide".into(), state: found(Library::OpenSlide), optional: true },
        Finding { what: "OpenVINO".into(), state: found(Library::OpenVino), optional: true },
    ]
}

fn onnx_runtime() -> Result<String, Error> {
    load(None)?;
    let found = locate(Library::OnnxRuntime, None)?;
    let version = loaded().map_or_else(String::new, |(_, version)| version);
    Ok(format!("{} (named by {}), version {version}, loads", found.path.display(), found.place))
}

#[cfg(target_arch = "x86_64")]
fn vector_units() -> &'static str {
    if super::device::has_amx() {
        ", AVX-512, AMX"
    } else if std::is_x86_feature_detected!("avx512f") {
        ", AVX-512"
    } else if std::is_x86_feature_detected!("avx2") {
        ", AVX2"
    } else {
        ", no AVX2: expect it to be slow"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_units() -> &'static str {
    ""
}

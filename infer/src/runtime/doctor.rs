//! Diagnosis of this machine: present and missing components, with the command that installs each missing one.

use std::process::Command;

use ort::ep::{self, ExecutionProvider};
use support::{Context, Error, bail, wheel};

use super::{Library, has_intel_cpu, has_nvidia, load, loaded, locate, locate_checked};

/// Result of the check of one component.
#[derive(Debug)]
pub struct Finding {
    /// Name of the component.
    pub what: String,
    /// Description of the component, or the error with its hint.
    pub state: Result<String, Error>,
    /// True if models run without the component.
    pub optional: bool,
}

/// Checks all components that a run can use.
pub fn doctor() -> Vec<Finding> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    vec![
        Finding { what: "program".into(), state: Ok(format!("infer {}", env!("CARGO_PKG_VERSION"))), optional: false },
        Finding {
            what: "machine".into(),
            state: Ok(format!("{} on {}, {cores} cores{}", std::env::consts::OS, std::env::consts::ARCH, vector_units())),
            optional: false,
        },
        Finding { what: "memory".into(), state: memory(), optional: true },
        Finding { what: "GPU".into(), state: gpu(), optional: true },
        Finding { what: "cache".into(), state: wheel::cache_folder().map(|folder| folder.display().to_string()), optional: true },
        Finding { what: "own kernels".into(), state: Ok(format!("f32, {}", kernels::Isa::best().name())), optional: false },
        Finding { what: "ONNX Runtime".into(), state: onnx_runtime(), optional: true },
        Finding { what: "OpenSlide".into(), state: found(Library::OpenSlide), optional: true },
        Finding { what: "OpenVINO".into(), state: open_vino(), optional: true },
        Finding { what: "CUDA".into(), state: found(Library::Cuda), optional: true },
    ]
}

/// Returns the path and the origin of a library after the check of its hash.
fn found(library: Library) -> Result<String, Error> {
    locate_checked(library, None).map(|found| format!("{} (named by {})", found.path.display(), found.place))
}

fn open_vino() -> Result<String, Error> {
    let found = found(Library::OpenVino)?;
    if !has_intel_cpu() {
        bail!("{found}: its provider for ONNX Runtime supports Intel processors only"; hint: "use --device native or cpu");
    }
    Ok(found)
}

/// Loads ONNX Runtime, and returns its path, version and providers.
fn onnx_runtime() -> Result<String, Error> {
    load(None)?;
    let found = locate(Library::OnnxRuntime, None)?;
    let version = loaded().map_or_else(String::new, |(_, version)| version);
    let providers = [("cpu", Ok(true)), ("cuda", ep::CUDA::is_available()), ("tensorrt", ep::TensorRT::is_available())];
    let offered: Vec<&str> = providers.iter().filter(|(_, is_available)| matches!(is_available, Ok(true))).map(|(name, _)| *name).collect();
    let (path, built_for) = (found.path.display(), offered.join(", "));
    Ok(format!("{path} (named by {}), version {version}, loads, built for {built_for}", found.place))
}

/// Returns the free and the total memory of the machine.
fn memory() -> Result<String, Error> {
    let text = std::fs::read_to_string("/proc/meminfo").doing(|| "reading /proc/meminfo")?;
    let gib = |key: &str| kib(&text, key).map_or_else(|| "?".to_owned(), |kib| format!("{:.1}", kib / 1024.0 / 1024.0));
    Ok(format!("{} of {} GiB free", gib("MemAvailable"), gib("MemTotal")))
}

/// Returns the value of a line of `/proc/meminfo` in KiB.
fn kib(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Returns name, driver and memory of each NVIDIA GPU, as reported by `nvidia-smi`.
fn gpu() -> Result<String, Error> {
    if !has_nvidia() {
        bail!("no NVIDIA driver is loaded here"; hint: "a machine without such a GPU needs none");
    }
    let output = Command::new("nvidia-smi").args(["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]).output();
    let output = output.doing(|| "starting nvidia-smi")?;
    let text = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr }).trim().replace('\n', "; ");
    if !output.status.success() {
        bail!("nvidia-smi ended with {}: {text}", output.status; hint: "the driver and its libraries may be of two versions: restart the machine");
    }
    Ok(text)
}

/// Returns the largest vector instruction set of the processor, for the list of components.
#[cfg(target_arch = "x86_64")]
fn vector_units() -> &'static str {
    if super::device::has_amx() {
        ", AVX-512, AMX"
    } else if std::is_x86_feature_detected!("avx512f") {
        ", AVX-512"
    } else if std::is_x86_feature_detected!("avx2") {
        ", AVX2"
    } else {
        ", no AVX2: runs will be slow"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_units() -> &'static str {
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_meminfo_are_found_by_their_full_name() {
        let text = "MemTotal:       24576000 kB\nMemFree:  1 kB\nMemAvailable:   12288000 kB\nHugePages_Total:       0\n";
        assert_eq!(kib(text, "MemTotal"), Some(24_576_000.0));
        assert_eq!(kib(text, "MemAvailable"), Some(12_288_000.0));
        assert_eq!((kib(text, "Mem"), kib(text, "HugePages_Total")), (None, None));
    }
}

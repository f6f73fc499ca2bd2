//! Devices and precisions of a model run. An unavailable device is an error, never a silent fallback to a slower one.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use ort::environment::Environment;
use ort::ep;
use ort::memory::DeviceType;
use ort::session::builder::SessionBuilder;
use support::{Context, Error, Result, bail};

use super::load::loaded_from;
use super::{cuda, engines, loaded, openvino};

/// Device that runs the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// Best device that works on this machine, as [`crate::choose`] determines; the CPU in contexts that try no device.
    #[default]
    Auto,
    /// The project's own kernels on the CPU in f32, see [`engine`].
    Native,
    /// ONNX Runtime's CPU kernels in f32.
    Cpu,
    /// Intel's `OpenVINO`.
    OpenVino,
    /// NVIDIA GPUs through CUDA and cuDNN.
    Cuda,
    /// NVIDIA GPUs through `TensorRT`.
    TensorRt,
}

impl Device {
    /// All devices, in the order of lists.
    pub const ALL: [Device; 6] = [Device::Auto, Device::Native, Device::Cpu, Device::OpenVino, Device::Cuda, Device::TensorRt];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Device::Auto => "auto",
            Device::Native => "native",
            Device::Cpu => "cpu",
            Device::OpenVino => "openvino",
            Device::Cuda => "cuda",
            Device::TensorRt => "tensorrt",
        }
    }

    /// Returns [`Device::Cpu`] for [`Device::Auto`], and any other device unchanged.
    #[must_use]
    pub fn resolve(self) -> Self {
        match self {
            Device::Auto => Device::Cpu,
            Device::Native | Device::Cpu | Device::OpenVino | Device::Cuda | Device::TensorRt => self,
        }
    }

    /// Configures sessions of `builder` for `model` to run on this device; only some providers use `threads` and `precision`.
    ///
    /// # Errors
    /// A device that is unavailable, or that does not support the precision.
    pub(crate) fn register(
        self,
        builder: SessionBuilder,
        environment: &Environment,
        threads: usize,
        precision: Precision,
        model: &[u8],
    ) -> Result<SessionBuilder> {
        let mut engine = None;
        let provider = match self.resolve() {
            Device::Auto | Device::Cpu if precision == Precision::Bf16 => {
                bail!("the device cpu computes in f32 only"; hint: "bf16 is for the device openvino")
            }
            Device::Auto | Device::Cpu => return on_provider(builder, environment, CPU_PROVIDER, &[]),
            Device::Native => bail!("the device native is not one of ONNX Runtime"; hint: "use --device cpu"),
            Device::OpenVino => return openvino::register(builder, environment, threads, precision),
            Device::Cuda => ep::CUDA::default().build(),
            Device::TensorRt => {
                let runtime = loaded().map_or_else(String::new, |(_, version)| version);
                tensorrt(&engine.insert(engines::folder(model, &runtime)?).0).build()
            }
        };
        if let Some(runtime) = loaded_from() {
            cuda::load_beside(&runtime)?;
        }
        let builder = builder
            .with_execution_providers([provider.error_on_failure()])
            .map_err(Error::from)
            .doing(|| format!("requesting the device {self} from ONNX Runtime"))
            .hint(|| {
                "`infer runtime install --cuda` fetches an ONNX Runtime for NVIDIA GPUs with CUDA and cuDNN (not TensorRT's own libraries); the driver must be 580 or newer"
            })?;
        if let Some((folder, false)) = engine {
            tracing::warn!(
                "TensorRT builds its engine for this model and GPU, which takes minutes, once; it is kept in {}",
                folder.display()
            );
        }
        Ok(builder)
    }
}

/// Returns the provider `TensorRT` with `engines` as the cache of its engine and timings.
fn tensorrt(engines: &Path) -> ep::TensorRT {
    let folder = engines.display();
    let cached = ep::TensorRT::default().with_engine_cache(true).with_engine_cache_path(&folder);
    cached.with_timing_cache(true).with_timing_cache_path(&folder)
}

/// Reports whether the CPU multiplies bf16 matrices in hardware (Intel AMX).
pub fn has_amx() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("amx_bf16"))
}

/// Reports whether the CPU is made by Intel: OpenVINO's provider for ONNX Runtime refuses others, although OpenVINO itself supports them.
pub fn has_intel_cpu() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("GenuineIntel"))
}

/// Name of the CPU provider in ONNX Runtime.
const CPU_PROVIDER: &str = "CPUExecutionProvider";

/// Configures sessions of `builder` to run on the CPU device of one provider.
///
/// The default CPU provider is named explicitly too, because the binding otherwise gives CPU sessions to any registered plugin.
pub(super) fn on_provider(
    builder: SessionBuilder,
    environment: &Environment,
    provider: &str,
    options: &[(String, String)],
) -> Result<SessionBuilder> {
    let is_requested =
        |device: &ort::device::Device| device.ep().is_ok_and(|name| name == provider) && device.hardware_device().ty() == DeviceType::CPU;
    let devices: Vec<_> = environment.devices().filter(is_requested).collect();
    if devices.is_empty() {
        let reason = if has_intel_cpu() { "" } else { "it supports Intel processors only: " };
        bail!("ONNX Runtime's {provider} offers no CPU on this machine"; hint: "{reason}use another device");
    }
    builder.with_devices(devices, Some(options)).map_err(Error::from).doing(|| format!("requesting ONNX Runtime's {provider}"))
}

/// Arithmetic of the network's inner layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats, the reference.
    #[default]
    F32,
    /// 16-bit floats with the range of f32: several times faster on CPUs with AMX; some of 10,000 pixels move across the threshold.
    Bf16,
}

impl Precision {
    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Precision::F32),
            "bf16" => Ok(Precision::Bf16),
            other => bail!("expected f32 or bf16, found {other:?}"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = || Device::ALL.map(Device::name).join(", ");
        let found = Device::ALL.into_iter().find(|device| device.name() == text);
        found.ok_or_else(|| Error::new(format!("expected one of {}, found {text:?}", names())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_are_parsed_to_the_same_device() {
        for device in Device::ALL {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert!("gpu".parse::<Device>().unwrap_err().to_string().contains("auto, native, cpu, openvino, cuda, tensorrt"));
    }
}

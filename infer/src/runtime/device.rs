//! What a model runs on. What was asked for and is not there is an error, never something slower in silence.

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

/// What runs the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The best that works here, as [`crate::choose`] finds out; where nothing is tried, the CPU.
    #[default]
    Auto,
    /// This program's own kernels on the CPU, f32, see [`crate::native`].
    Native,
    /// ONNX Runtime's own CPU kernels, f32.
    Cpu,
    /// Intel's `OpenVINO`.
    OpenVino,
    /// NVIDIA GPUs through CUDA and cuDNN.
    Cuda,
    /// NVIDIA GPUs through `TensorRT`.
    TensorRt,
}

impl Device {
    /// Every device.
    pub const ALL: [Device; 6] = [Device::Auto, Device::Native, Device::Cpu, Device::OpenVino, Device::Cuda, Device::TensorRt];

    /// As it is typed.
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

    /// The device that `auto` stands for here, and any other as it is.
    #[must_use]
    pub fn resolve(self) -> Self {
        match self {
            Device::Auto => Device::Cpu,
            Device::Native | Device::Cpu | Device::OpenVino | Device::Cuda | Device::TensorRt => self,
        }
    }

    /// Makes sessions of `builder` for `model` run on this device, or fails. `threads` and `precision` matter to providers with their own.
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
            Device::Native => bail!("the device native is none of ONNX Runtime's"; hint: "use --device cpu"),
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
            .doing(|| format!("asking ONNX Runtime for the device {self}"))
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

/// `TensorRT` with the engine that it has built before, or a place for the one that it will build.
fn tensorrt(engines: &Path) -> ep::TensorRT {
    let folder = engines.display();
    let cached = ep::TensorRT::default().with_engine_cache(true).with_engine_cache_path(&folder);
    cached.with_timing_cache(true).with_timing_cache_path(&folder)
}

/// Whether the CPU multiplies bf16 matrices in hardware (Intel's AMX).
pub fn has_amx() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("amx_bf16"))
}

/// Whether the CPU is one of Intel's: OpenVINO's provider takes no others, though OpenVINO itself would.
pub fn has_intel_cpu() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("GenuineIntel"))
}

const CPU_PROVIDER: &str = "CPUExecutionProvider";

/// Puts sessions of `builder` on the CPU device of one provider.
///
/// The CPU's own provider is named too: left to itself, the binding hands CPU sessions to any plugin that is registered.
pub(super) fn on_provider(
    builder: SessionBuilder,
    environment: &Environment,
    provider: &str,
    options: &[(String, String)],
) -> Result<SessionBuilder> {
    let is_meant =
        |device: &ort::device::Device| device.ep().is_ok_and(|name| name == provider) && device.hardware_device().ty() == DeviceType::CPU;
    let devices: Vec<_> = environment.devices().filter(is_meant).collect();
    if devices.is_empty() {
        let why = if has_intel_cpu() { "" } else { "it takes Intel's processors alone: " };
        bail!("ONNX Runtime's {provider} offers no CPU on this machine"; hint: "{why}use another device");
    }
    builder.with_devices(devices, Some(options)).map_err(Error::from).doing(|| format!("asking ONNX Runtime for its {provider}"))
}

/// The arithmetic of the network's inner layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats: the reference.
    #[default]
    F32,
    /// 16-bit floats with the range of f32: several times faster on CPUs with AMX; some pixels in 10,000 change side.
    Bf16,
}

impl Precision {
    /// As it is typed.
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
    fn every_device_is_read_as_it_is_written() {
        for device in Device::ALL {
            assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
        }
        assert!("gpu".parse::<Device>().unwrap_err().to_string().contains("auto, native, cpu, openvino, cuda, tensorrt"));
    }
}

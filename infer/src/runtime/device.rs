//! Devices and precisions of a model run. An unavailable device is an error, never a silent fallback to a slower one.

use std::fmt;
use std::str::FromStr;

use support::{Error, Result, bail};

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
}

/// Reports whether the CPU multiplies bf16 matrices in hardware (Intel AMX).
pub fn has_amx() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("amx_bf16"))
}

/// Reports whether the CPU is made by Intel: OpenVINO's provider for ONNX Runtime refuses others, although OpenVINO itself supports them.
pub fn has_intel_cpu() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("GenuineIntel"))
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

//! What a model runs on. What was asked for and is not there is an error, never something slower in silence.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use models::{Context, Error, Result, bail};
use ort::ep;
use ort::session::builder::SessionBuilder;

/// What runs the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The best that is known to work here: the CPU, until others have proved themselves.
    #[default]
    Auto,
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
    pub const ALL: [Device; 5] = [Device::Auto, Device::Cpu, Device::OpenVino, Device::Cuda, Device::TensorRt];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Device::Auto => "auto",
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
            Device::Auto => {
                tracing::info!("device: cpu (auto takes the CPU; ask for another one by name)");
                Device::Cpu
            }
            Device::Cpu | Device::OpenVino | Device::Cuda | Device::TensorRt => self,
        }
    }

    /// Makes sessions of `builder` run on this device, or fails.
    pub(crate) fn register(self, builder: SessionBuilder, runtime: &Path) -> Result<SessionBuilder> {
        let provider = match self.resolve() {
            Device::Auto | Device::Cpu => return Ok(builder),
            Device::OpenVino => {
                bail!("the device openvino is not in this version"; hint: "use cpu, or cuda on a machine with an NVIDIA GPU")
            }
            Device::Cuda => ep::CUDA::default().build(),
            Device::TensorRt => ep::TensorRT::default().build(),
        };
        builder
            .with_execution_providers([provider.error_on_failure()])
            .map_err(Error::from)
            .doing(|| format!("asking ONNX Runtime ({}) for the device {self}", runtime.display()))
            .hint(|| {
                "the runtime that is installed here may be for CPUs only: name one built for this device by NUCLEI_ONNXRUNTIME, or use cpu"
            })
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
        assert!("gpu".parse::<Device>().unwrap_err().to_string().contains("auto, cpu, openvino, cuda, tensorrt"));
    }
}

//! Form of a model file: target runtime and arithmetic. All forms compute the same network; the card records the difference in probabilities.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Parity;
use support::{Error, Result, bail};

/// The form of a model file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Form {
    /// Runtime that the file was written for; the file runs on the others too.
    pub target: Target,
    /// Arithmetic of the convolutions.
    pub precision: Precision,
    /// Difference to the plain graph in f32; `None` if there were no images at export.
    pub parity: Option<Parity>,
    /// Difference to the training program on the checkpoint's parity reference; `None` if nothing was measured or there was no reference.
    pub training_parity: Option<Parity>,
}

/// Target runtime. Targets differ in the encoding of convolutions of upsampled feature maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// ONNX Runtime's own CPU kernels: four small convolutions if there are many channels, otherwise the graph as it is.
    #[default]
    Cpu,
    /// `OpenVINO`: transposed convolutions.
    OpenVino,
    /// CUDA and cuDNN: the graph as it is.
    Cuda,
    /// `TensorRT`: the graph as it is.
    TensorRt,
}

impl Target {
    /// Every target.
    pub const ALL: [Target; 4] = [Target::Cpu, Target::OpenVino, Target::Cuda, Target::TensorRt];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Target::Cpu => "cpu",
            Target::OpenVino => "openvino",
            Target::Cuda => "cuda",
            Target::TensorRt => "tensorrt",
        }
    }
}

/// Arithmetic of a model's convolutions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats between f32 input and output: half the file, for GPUs.
    F16,
    /// 8-bit integers with one scale per output channel of the weights and per feature map: faster in ONNX Runtime on CPUs with VNNI.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Int8];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Int8 => "int8",
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Target::ALL.into_iter().find(|target| target.name() == text) {
            Some(target) => Ok(target),
            None => bail!("expected one of {}, found {text:?}", Target::ALL.map(Target::name).join(", ")),
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Precision::ALL.into_iter().find(|precision| precision.name() == text) {
            Some(precision) => Ok(precision),
            None => bail!("expected one of {}, found {text:?}", Precision::ALL.map(Precision::name).join(", ")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

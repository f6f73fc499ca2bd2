//! How a network is written for what runs it. All forms compute the same network; the card says how nearly.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Parity;
use support::{Error, Result, bail};

/// The form of a model file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Form {
    /// What it was written for; it runs elsewhere too.
    pub target: Target,
    /// Arithmetic of the convolutions.
    pub precision: Precision,
    /// How far its probabilities are from the plain graph's in f32; `None` where no image was at hand at export.
    pub parity: Option<Parity>,
    /// How far they are from those of the program that trained it, on the image that its checkpoint carries.
    pub training_parity: Option<Parity>,
}

/// What runs a model. The forms differ in how a convolution of an enlarged map is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// ONNX Runtime's own kernels: as the graph reads.
    #[default]
    Cpu,
    /// `OpenVINO`: transposed convolutions.
    OpenVino,
    /// CUDA and cuDNN: as the graph reads.
    Cuda,
    /// `TensorRT`: transposed convolutions.
    TensorRt,
}

impl Target {
    /// Every target.
    pub const ALL: [Target; 4] = [Target::Cpu, Target::OpenVino, Target::Cuda, Target::TensorRt];

    /// As it is typed.
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
    /// 8-bit integers, weights by output channel, values by map: several times faster on CPUs with VNNI.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Int8];

    /// As it is typed.
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

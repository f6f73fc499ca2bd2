//! Kernels for NVIDIA GPUs: feature maps `B H W C` in bf16 or f32, convolutions by cuDNN, all other operations by kernels of this crate
//! (`cu/`) that NVRTC compiles at run time. Weights are f32, followed by a copy in the type of feature maps; statistics and sums are f32 or
//! f64.
//!
//! A [`Machine`] runs the kernels. The one for GPUs needs the feature `cuda`; everything else compiles and is tested without it.

mod check;
mod convolution;
mod depthwise;
#[cfg(feature = "cuda")]
mod gpu;
mod launch;
mod losses;
mod machine;
mod maps;
mod norm;
pub mod source;
mod step;
mod updates;
mod upsampled;

use candle_core::{DType, Device, Result, Tensor};
use models::graph::{Conv, Depthwise};

use launch::int;

use super::{Activation, ConvGradients, Fused, Kernels, Moments, Norm, NormGradients, SavedNorm, Source};
pub use check::self_check;
#[cfg(feature = "nccl")]
pub use gpu::Nccl;
#[cfg(feature = "cuda")]
pub use gpu::{Gpu, peak_bytes};
pub use machine::{Geometry, KernelArg, Machine, Pass};

/// Kernels on a machine.
pub struct Cuda<M> {
    machine: M,
}

impl<M: Machine> Cuda<M> {
    /// Creates kernels that run on `machine`.
    pub fn new(machine: M) -> Self {
        Self { machine }
    }

    /// Returns the machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }
}

impl<M: Machine> Kernels for Cuda<M> {
    fn device(&self) -> &Device {
        self.machine.device()
    }

    /// Returns the type of parameters and of imported and exported feature maps; internally they have the machine's type.
    fn dtype(&self) -> DType {
        DType::F32
    }

    fn is_exact(&self) -> bool {
        self.machine.feature_dtype() == DType::F32
    }

    fn fused(&self) -> Option<&dyn Fused> {
        Some(self)
    }

    fn import_feature(&self, nchw: &Tensor) -> Result<Tensor> {
        self.feature_from_nchw(nchw)
    }

    fn export_feature(&self, x: &Tensor) -> Result<Tensor> {
        self.feature_to_nchw(x)
    }

    fn import_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor> {
        self.pack_weight(conv, weight)
    }

    fn export_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor> {
        convolution::unpack_weight(conv, weight)
    }

    fn import_depthwise(&self, weight: &Tensor) -> Result<Tensor> {
        self.pack_depthwise(weight)
    }

    fn export_depthwise(&self, weight: &Tensor) -> Result<Tensor> {
        depthwise::unpack(weight)
    }

    fn depthwise(&self, conv: &Depthwise, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.convolve_depthwise(conv, x, weight, bias)
    }

    fn depthwise_backward(&self, conv: &Depthwise, x: &Tensor, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients> {
        self.convolve_depthwise_backward(conv, x, weight, dy, wants_dx)
    }

    fn conv(&self, conv: &Conv, source: Source, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.convolve(conv, source, weight, bias)
    }

    fn conv_backward(&self, conv: &Conv, source: Source, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients> {
        self.convolve_backward(conv, source, weight, dy, wants_dx)
    }

    fn moments(&self, x: &Tensor) -> Result<Moments> {
        self.moments_of(x)
    }

    fn moments_from(&self, running: &Tensor) -> Result<Tensor> {
        Ok(running.clone())
    }

    fn norm(&self, norm: Norm, x: &Tensor, residual: Option<&Tensor>, moments: &Moments) -> Result<Tensor> {
        self.normalise(norm, x, residual, moments)
    }

    fn norm_backward(&self, norm: Norm, at: SavedNorm, dy: &Tensor) -> Result<NormGradients> {
        self.normalise_backward(norm, at, dy)
    }

    fn activate(&self, activation: Activation, x: &Tensor) -> Result<Tensor> {
        self.elementwise("activate", &[x], &[int(activation as i32)])
    }

    fn activate_backward(&self, activation: Activation, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        self.elementwise("activate_backward", &[y, dy], &[int(activation as i32)])
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.elementwise("add", &[a, b], &[])
    }

    fn max_pool(&self, x: &Tensor) -> Result<Tensor> {
        self.pool(x)
    }

    fn max_pool_backward(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        self.pool_backward(x, y, dy)
    }

    fn upsample(&self, x: &Tensor) -> Result<Tensor> {
        self.concat_upsampled(x, None, true)
    }

    fn upsample_backward(&self, dy: &Tensor) -> Result<Tensor> {
        let channels = dy.dim(3)?;
        Ok(self.concat_upsampled_backward(dy, channels, true)?.0)
    }

    fn concat(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.concat_upsampled(a, Some(b), false)
    }

    fn split(&self, dy: &Tensor, channels: usize) -> Result<(Tensor, Tensor)> {
        let (a, b) = self.concat_upsampled_backward(dy, channels, false)?;
        Ok((a, b.expect("the second part has channels")))
    }
}

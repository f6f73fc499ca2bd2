//! Operations that a device provides to run a network forward and backward.
//!
//! [`Reference`] implements them in candle's tensor operations for any device and any float type, and defines their meaning. [`Cpu`] holds
//! the fast kernels for processors, [`cuda::Cuda`] those for NVIDIA GPUs. Each keeps feature maps and weights in a layout of its own;
//! callers convert them with the import and export methods.

mod cpu;
pub mod cuda;
mod fused;
mod reference;

use candle_core::{DType, Device, Result, Tensor};
use models::graph::{Conv, Depthwise};

pub use cpu::Cpu;
pub(crate) use cpu::tensors::{f32s, tensor};
pub use fused::{ContrastGroup, Fused, RAdamUpdate, RunningStatistics};
pub use kernels::bf16::Bf16Isa;
pub use kernels::{Activation, Isa};
pub use reference::Reference;

/// Mean and biased variance of each channel, as batch normalisation uses them; `C` values each.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean over batch, rows and columns.
    pub mean: Tensor,
    /// Biased variance: mean squared deviation from the mean.
    pub variance: Tensor,
}

/// Parameters of a batch normalisation and of the activation that is fused with it.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// Scale gamma, `C`.
    pub scale: &'a Tensor,
    /// Shift beta, `C`.
    pub shift: &'a Tensor,
    /// Constant added to the variance, 1e-5 by default.
    pub eps: f64,
    /// Activation applied to the normalised value.
    pub activation: Activation,
}

/// Input of a convolution.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// One feature map.
    FeatureMap(&'a Tensor),
    /// Feature map upsampled by 2 (nearest neighbour), with the channels of a skip connection concatenated behind its own.
    Upsampled {
        /// Feature map before upsampling, half as high and as wide as the output.
        small: &'a Tensor,
        /// Skip connection, as high and as wide as the output.
        skip: Option<&'a Tensor>,
    },
}

/// Gradients of a convolution. A gradient is none if it was not requested or if the convolution has no such operand.
pub struct ConvGradients {
    /// Gradient at the input, or at the feature map before upsampling.
    pub dx: Option<Tensor>,
    /// Gradient at the skip connection.
    pub dskip: Option<Tensor>,
    /// Gradient at the weight, in the layout of the kernels.
    pub dweight: Tensor,
    /// Gradient at the bias, `O`.
    pub dbias: Option<Tensor>,
}

/// Values that the backward pass of a batch normalisation reads from the forward pass.
#[derive(Clone, Copy)]
pub struct SavedNorm<'a> {
    /// Input of the normalisation.
    pub x: &'a Tensor,
    /// Output after the activation; needed only if there is an activation.
    pub y: Option<&'a Tensor>,
    /// Statistics that the forward pass used.
    pub moments: &'a Moments,
    /// True if the statistics are those of `x`, so that gradients flow through them.
    pub batch_statistics: bool,
    /// True if a residual was added before the activation and needs a gradient.
    pub wants_dresidual: bool,
}

/// Gradients of a batch normalisation.
pub struct NormGradients {
    /// Gradient at the input.
    pub dx: Tensor,
    /// Gradient at the scale, `C`.
    pub dscale: Tensor,
    /// Gradient at the shift, `C`.
    pub dshift: Tensor,
    /// Gradient at the residual, if it was requested.
    pub dresidual: Option<Tensor>,
}

/// Operations of one device, on feature maps and weights in the layout of the implementation.
///
/// A result may share memory with an argument only if [`Kernels::recycle`] does nothing.
pub trait Kernels: Send + Sync {
    /// Returns the device on which tensors live.
    fn device(&self) -> &Device;
    /// Returns the type of parameters and of imported and exported tensors.
    fn dtype(&self) -> DType;
    /// Converts `B C H W` (with any strides) to a feature map in the layout of these kernels.
    fn import_feature(&self, nchw: &Tensor) -> Result<Tensor>;
    /// Copies a feature map to a `B C H W` tensor, whose strides may be those of channels-last memory.
    fn export_feature(&self, x: &Tensor) -> Result<Tensor>;
    /// Converts a convolution weight `O I K K` to the layout of these kernels.
    fn import_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor>;
    /// Converts a convolution weight, or its gradient, to `O I K K`.
    fn export_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor>;
    /// Converts a depthwise weight `C 1 3 3` to the layout of these kernels.
    fn import_depthwise(&self, weight: &Tensor) -> Result<Tensor>;
    /// Converts a depthwise weight, or its gradient, to `C 1 3 3`.
    fn export_depthwise(&self, weight: &Tensor) -> Result<Tensor>;

    /// Reports whether feature maps are f32 or wider, so that results agree with other programs to f32 rounding.
    fn is_exact(&self) -> bool {
        true
    }
    /// Returns the instruction set with which [`engine`] predicts in the place of these kernels; `None`: these kernels predict themselves.
    fn engine_isa(&self) -> Option<::kernels::Isa> {
        None
    }
    /// Returns the fused operations of an optimiser step, if these kernels have them.
    fn fused(&self) -> Option<&dyn Fused> {
        None
    }

    /// Marks a result of these kernels as unused, so that its memory may be reused.
    fn recycle(&self, _: &Tensor) {}

    /// Convolves with zero padding `kernel / 2`: cross-correlation as in `PyTorch`, `B I H W` to `B O H' W'`.
    fn conv(&self, conv: &Conv, source: Source, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor>;
    /// Computes the gradients of [`Kernels::conv`]; those at the inputs only if `wants_dx`.
    fn conv_backward(&self, conv: &Conv, source: Source, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients>;
    /// Convolves each channel with its own 3x3 filter, zero padding 1.
    fn depthwise(&self, conv: &Depthwise, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor>;
    /// Computes the gradients of [`Kernels::depthwise`]; that at the input only if `wants_dx`.
    fn depthwise_backward(&self, conv: &Depthwise, x: &Tensor, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients>;
    /// Computes mean and biased variance of each channel over batch, rows and columns.
    fn moments(&self, x: &Tensor) -> Result<Moments>;
    /// Converts a running statistic to the type of [`Moments`].
    fn moments_from(&self, running: &Tensor) -> Result<Tensor>;
    /// Computes `(x - mean) / sqrt(variance + eps) * scale + shift + residual`, then the activation.
    fn norm(&self, norm: Norm, x: &Tensor, residual: Option<&Tensor>, moments: &Moments) -> Result<Tensor>;
    /// Computes the gradients of [`Kernels::norm`].
    fn norm_backward(&self, norm: Norm, at: SavedNorm, dy: &Tensor) -> Result<NormGradients>;
    /// Applies the activation to each value.
    fn activate(&self, activation: Activation, x: &Tensor) -> Result<Tensor>;
    /// Passes `dy` where the output `y` lies inside the activation's linear range, else 0.
    fn activate_backward(&self, activation: Activation, y: &Tensor, dy: &Tensor) -> Result<Tensor>;
    /// Adds two feature maps or two gradients.
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor>;
    /// Computes the maximum over 3x3 windows, stride 2, padding 1.
    fn max_pool(&self, x: &Tensor) -> Result<Tensor>;
    /// Routes each gradient to the first maximum of its window in raster order.
    fn max_pool_backward(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor>;
    /// Upsamples by 2 with nearest neighbours: each pixel becomes 2x2.
    fn upsample(&self, x: &Tensor) -> Result<Tensor>;
    /// Sums each 2x2 block: the gradient of [`Kernels::upsample`].
    fn upsample_backward(&self, dy: &Tensor) -> Result<Tensor>;
    /// Concatenates the channels of `a` and `b`.
    fn concat(&self, a: &Tensor, b: &Tensor) -> Result<Tensor>;
    /// Splits a gradient after the first `channels` channels: the gradient of [`Kernels::concat`].
    fn split(&self, dy: &Tensor, channels: usize) -> Result<(Tensor, Tensor)>;
}

/// Materialises the input of a convolution as one feature map, upsampled and concatenated.
fn assemble_source(kernels: &dyn Kernels, source: Source) -> Result<Tensor> {
    match source {
        Source::FeatureMap(x) => Ok(x.clone()),
        Source::Upsampled { small, skip: None } => kernels.upsample(small),
        Source::Upsampled { small, skip: Some(skip) } => kernels.concat(&kernels.upsample(small)?, skip),
    }
}

/// Distributes the gradient at a materialised input to its parts, `dx` and `dskip`. `channels` is the number of channels of the first part.
fn split_source_gradient(kernels: &dyn Kernels, source: Source, channels: usize, dx: Tensor) -> Result<(Tensor, Option<Tensor>)> {
    match source {
        Source::FeatureMap(_) => Ok((dx, None)),
        Source::Upsampled { skip: None, .. } => Ok((kernels.upsample_backward(&dx)?, None)),
        Source::Upsampled { skip: Some(_), .. } => {
            let (up, skip) = kernels.split(&dx, channels)?;
            Ok((kernels.upsample_backward(&up)?, Some(skip)))
        }
    }
}

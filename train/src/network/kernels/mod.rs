//! What a device must be able to do to run a network forward and backward.
//!
//! [`Reference`] says it in candle's tensor operations: any device, any float type, and the meaning of everything else.
//! [`Cpu`] is the fast path of processors, [`cuda::Cuda`] that of NVIDIA GPUs. Each keeps feature maps and weights in the layout it likes;
//! callers bring them in and out.

mod cpu;
pub mod cuda;
mod fused;
mod reference;

use candle_core::{DType, Device, Result, Tensor};
use models::graph::{Conv, Depthwise};

pub use cpu::Cpu;
pub(crate) use cpu::tensors::{f32s, tensor};
pub use fused::{RAdamUpdate, RunningStatistics, Fused, ContrastGroup};
pub use kernels::bf16::Unit;
pub use kernels::{Activation, Isa};
pub use reference::Reference;

/// Mean and biased variance of each channel, `C` each.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean.
    pub mean: Tensor,
    /// Mean squared deviation from the mean.
    pub variance: Tensor,
}

/// A batch normalisation, with the activation that follows it where there is one.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// Scale, `C`.
    pub scale: &'a Tensor,
    /// Shift, `C`.
    pub shift: &'a Tensor,
    /// Added to the variance.
    pub eps: f64,
    /// What follows.
    pub activation: Activation,
}

/// What a convolution reads.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A map.
    FeatureMap(&'a Tensor),
    /// Each pixel of `small` as 2x2, and behind its channels those of `skip`.
    Upsampled {
        /// Half as high and as wide as what it stands for.
        small: &'a Tensor,
        /// As high and as wide as the result.
        skip: Option<&'a Tensor>,
    },
}

/// Gradients of a convolution.
pub struct ConvGradients {
    /// At the map, or at the small map, unless it was not asked for.
    pub dx: Option<Tensor>,
    /// At the skipped map, where there is one.
    pub dskip: Option<Tensor>,
    /// At the weight, in the kernels' layout.
    pub dweight: Tensor,
    /// At the bias.
    pub dbias: Option<Tensor>,
}

/// Where a batch normalisation stood in the forward pass.
#[derive(Clone, Copy)]
pub struct SavedNorm<'a> {
    /// Its input.
    pub x: &'a Tensor,
    /// Its result; needed with an activation only.
    pub y: Option<&'a Tensor>,
    /// The moments that were used.
    pub moments: &'a Moments,
    /// Whether they came from `x` itself, so that gradients flow through them.
    pub batch_statistics: bool,
    /// Whether a map was added before the activation; its gradient is given then.
    pub wants_dresidual: bool,
}

/// Gradients of a batch normalisation.
pub struct NormGradients {
    /// At the input.
    pub dx: Tensor,
    /// At the scale.
    pub dscale: Tensor,
    /// At the shift.
    pub dshift: Tensor,
    /// At the map that was added, if it was asked for.
    pub dresidual: Option<Tensor>,
}

/// One device's operations. Feature maps and weights are in the layout of the implementation.
///
/// A result may share memory with an argument only where [`Kernels::recycle`] does nothing.
pub trait Kernels: Send + Sync {
    /// Where tensors live.
    fn device(&self) -> &Device;
    /// Their type.
    fn dtype(&self) -> DType;
    /// `B C H W`, in any order in memory, to the layout of these kernels.
    fn import_feature(&self, nchw: &Tensor) -> Result<Tensor>;
    /// A feature map as `B C H W`, a copy; in memory it may lie in another order.
    fn export_feature(&self, x: &Tensor) -> Result<Tensor>;
    /// `O I K K` to the layout of these kernels.
    fn import_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor>;
    /// A convolution weight, or its gradient, as `O I K K`.
    fn export_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor>;
    /// `C 1 3 3` to the layout of these kernels.
    fn import_depthwise(&self, weight: &Tensor) -> Result<Tensor>;
    /// A depthwise weight, or its gradient, as `C 1 3 3`.
    fn export_depthwise(&self, weight: &Tensor) -> Result<Tensor>;

    /// Whether feature maps are f32 or wider, so that results agree with other programs to the last digits that these show.
    fn is_exact(&self) -> bool {
        true
    }
    /// What these kernels do at one stroke where others take many tensor operations, if anything.
    fn fused(&self) -> Option<&dyn Fused> {
        None
    }

    /// Told that nothing reads this result of these kernels any more: its memory may be used again.
    fn recycle(&self, _: &Tensor) {}

    /// Convolution with zero padding `kernel / 2`.
    fn conv(&self, conv: &Conv, source: Source, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor>;
    /// Its gradients; those at the maps only if `wants_dx`.
    fn conv_backward(&self, conv: &Conv, source: Source, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients>;
    /// 3x3 convolution of each channel by itself, zero padding 1.
    fn depthwise(&self, conv: &Depthwise, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor>;
    /// Its gradients; that at the map only if `wants_dx`.
    fn depthwise_backward(&self, conv: &Depthwise, x: &Tensor, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients>;
    /// Mean and biased variance over batch, rows and columns.
    fn moments(&self, x: &Tensor) -> Result<Moments>;
    /// A running statistic in the type of [`Moments`].
    fn moments_from(&self, running: &Tensor) -> Result<Tensor>;
    /// `(x - mean) / sqrt(variance + eps) * scale + shift + residual`, then the activation.
    fn norm(&self, norm: Norm, x: &Tensor, residual: Option<&Tensor>, moments: &Moments) -> Result<Tensor>;
    /// Its gradients; `y` is the result of [`Kernels::norm`] and needed with an activation only.
    fn norm_backward(&self, norm: Norm, at: SavedNorm, dy: &Tensor) -> Result<NormGradients>;
    /// The activation.
    fn activate(&self, activation: Activation, x: &Tensor) -> Result<Tensor>;
    /// `dy` where the result `y` is inside the activation's range, else 0.
    fn activate_backward(&self, activation: Activation, y: &Tensor, dy: &Tensor) -> Result<Tensor>;
    /// Sum of two maps or of two gradients.
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor>;
    /// Maximum over 3x3, stride 2, padding 1.
    fn max_pool(&self, x: &Tensor) -> Result<Tensor>;
    /// Each gradient goes to the first maximum of its window in raster order.
    fn max_pool_backward(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor>;
    /// Each pixel becomes 2x2.
    fn upsample(&self, x: &Tensor) -> Result<Tensor>;
    /// Sum of each 2x2 block.
    fn upsample_backward(&self, dy: &Tensor) -> Result<Tensor>;
    /// Channels of `a`, then of `b`.
    fn concat(&self, a: &Tensor, b: &Tensor) -> Result<Tensor>;
    /// The two parts of a gradient, the first with `channels` channels.
    fn split(&self, dy: &Tensor, channels: usize) -> Result<(Tensor, Tensor)>;
}

/// What a convolution reads, as one map.
fn assemble_source(kernels: &dyn Kernels, source: Source) -> Result<Tensor> {
    match source {
        Source::FeatureMap(x) => Ok(x.clone()),
        Source::Upsampled { small, skip: None } => kernels.upsample(small),
        Source::Upsampled { small, skip: Some(skip) } => kernels.concat(&kernels.upsample(small)?, skip),
    }
}

/// The gradient at an assemble_source map, carried to its parts: `dx` and `dskip`. `channels` are those of the first.
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

//! What a device must be able to do to run a network forward and backward.
//!
//! [`Reference`] says it in candle's tensor operations: any device, any float type, and the meaning of everything else.
//! [`Cpu`] is the fast f32 path. Each keeps feature maps and weights in the layout it likes; callers bring them in and out.

mod cpu;
mod reference;

use candle_core::{DType, Device, Result, Tensor};
use models::graph::Conv;

pub use cpu::{Cpu, Isa};
pub use reference::Reference;

/// Mean and biased variance of each channel, `C` each.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean.
    pub mean: Tensor,
    /// Mean squared deviation from the mean.
    pub variance: Tensor,
}

/// A batch normalisation, with the ReLU that follows it where there is one.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// Scale, `C`.
    pub scale: &'a Tensor,
    /// Shift, `C`.
    pub shift: &'a Tensor,
    /// Added to the variance.
    pub eps: f64,
    /// Whether `max(., 0)` follows.
    pub relu: bool,
}

/// Gradients of a convolution.
pub struct ConvGradients {
    /// At the input, unless it was not asked for.
    pub dx: Option<Tensor>,
    /// At the weight, in the kernels' layout.
    pub dweight: Tensor,
    /// At the bias.
    pub dbias: Option<Tensor>,
}

/// Gradients of a batch normalisation.
pub struct NormGradients {
    /// At the input.
    pub dx: Tensor,
    /// At the scale.
    pub dscale: Tensor,
    /// At the shift.
    pub dshift: Tensor,
}

/// One device's operations. Feature maps and weights are in the layout of the implementation.
pub trait Kernels: Send + Sync {
    /// Where tensors live.
    fn device(&self) -> &Device;
    /// Their type.
    fn dtype(&self) -> DType;
    /// `B C H W` to the layout of these kernels.
    fn import_feature(&self, nchw: &Tensor) -> Result<Tensor>;
    /// A feature map as `B C H W`.
    fn export_feature(&self, x: &Tensor) -> Result<Tensor>;
    /// `O I K K` to the layout of these kernels.
    fn import_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor>;
    /// A convolution weight, or its gradient, as `O I K K`.
    fn export_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor>;

    /// Convolution with zero padding `kernel / 2`.
    fn conv(&self, conv: &Conv, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor>;
    /// Its gradients; the one at the input only if `wants_dx`.
    fn conv_backward(&self, conv: &Conv, x: &Tensor, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients>;
    /// Mean and biased variance over batch, rows and columns.
    fn moments(&self, x: &Tensor) -> Result<Moments>;
    /// A running statistic in the type of [`Moments`].
    fn moments_from(&self, running: &Tensor) -> Result<Tensor>;
    /// `(x - mean) / sqrt(variance + eps) * scale + shift`, then the ReLU.
    fn norm(&self, norm: Norm, x: &Tensor, moments: &Moments) -> Result<Tensor>;
    /// Its gradients; `y` is the result of [`Kernels::norm`], `batch_statistics` says whether `moments` came from `x` itself.
    fn norm_backward(
        &self,
        norm: Norm,
        x: &Tensor,
        y: &Tensor,
        dy: &Tensor,
        moments: &Moments,
        batch_statistics: bool,
    ) -> Result<NormGradients>;
    /// `max(x, 0)`.
    fn relu(&self, x: &Tensor) -> Result<Tensor>;
    /// `dy` where the result `y` is positive, else 0.
    fn relu_backward(&self, y: &Tensor, dy: &Tensor) -> Result<Tensor>;
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

//! Fast kernels for processors: adapters between tensors and the slices of the crate `kernels`. Feature maps (`B H W C`) and weights are
//! f32; convolutions may round their operands to bf16.

mod bf16;
mod convolution;
mod depthwise;
mod source_shapes;
pub(crate) mod tensors;

use candle_core::{DType, Device, Result, Tensor};
use kernels::bf16::Bf16Isa;
use kernels::geometry::Cache;
use kernels::{Activation, Isa, Pool, Shape, maps, norm, panels, pooling};
use models::graph::{Conv, Depthwise};

use super::{ConvGradients, Kernels, Moments, Norm, NormGradients, SavedNorm, Source};
use tensors::{Reclaim, f32s, f64s, feature, like, shape, tensor, vector};

/// Kernels for one instruction set of the processor.
pub struct Cpu {
    /// Instruction set of all kernels.
    isa: Isa,
    /// Instruction set that multiplies bf16 operands, if convolutions use them.
    bf16: Option<Bf16Isa>,
    /// Gather tables by geometry.
    tables: Cache,
    /// Buffers of feature maps and gradients.
    pool: Pool,
    /// Short-lived workspace of the bf16 convolutions.
    scratch: Pool,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::with_isa(Isa::best())
    }
}

impl Cpu {
    /// Creates kernels for one instruction set, which must be among [`Isa::available`].
    pub fn with_isa(isa: Isa) -> Self {
        assert!(Isa::available().contains(&isa), "this processor has no {isa:?}");
        Self { isa, bf16: None, tables: Cache::default(), pool: Pool::new(), scratch: Pool::of_any_length() }
    }

    /// Returns the instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

fn inverse_std(moments: &Moments, eps: f64) -> Result<Vec<f64>> {
    Ok(f64s(&moments.variance)?.iter().map(|v| 1.0 / (v + eps).sqrt()).collect())
}

impl Kernels for Cpu {
    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn engine_isa(&self) -> Option<Isa> {
        self.bf16.is_none().then_some(self.isa)
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn import_feature(&self, nchw: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = nchw.dims4()?;
        let rows = nchw.permute((0, 2, 3, 1))?;
        if rows.is_contiguous() {
            return feature(maps::copy(&self.pool, &f32s(&rows)?), b, h, w, c);
        }
        let nchw = nchw.contiguous()?;
        feature(maps::channels_last(&self.pool, &f32s(&nchw)?, b, c, h * w), b, h, w, c)
    }

    fn export_feature(&self, x: &Tensor) -> Result<Tensor> {
        let Shape { batch, height, width, channels } = shape(x)?;
        if channels >= 16 {
            // The copy keeps its channels-last memory, because consumers of this many channels read them pixel by pixel.
            return Tensor::from_slice(&f32s(x)?, x.shape(), &Device::Cpu)?.permute((0, 3, 1, 2));
        }
        Tensor::from_vec(maps::channels_first(&f32s(x)?, batch, channels, height * width), (batch, channels, height, width), &Device::Cpu)
    }

    fn import_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor> {
        let taps = conv.kernel * conv.kernel;
        let mut panels = self.pool.zeros(panels::len(conv.outputs, conv.inputs, taps));
        panels::pack(&f32s(&weight.contiguous()?)?, conv.outputs, conv.inputs, taps, &mut panels);
        tensor(panels)
    }

    fn export_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor> {
        let taps = conv.kernel * conv.kernel;
        let values = panels::unpack(&f32s(weight)?, conv.outputs, conv.inputs, taps);
        Tensor::from_vec(values, (conv.outputs, conv.inputs, conv.kernel, conv.kernel), &Device::Cpu)
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

    fn recycle(&self, tensor: &Tensor) {
        // A tensor that does not come from these kernels has no buffer to reclaim, so an error is ignored.
        let _ = tensor.inplace_op1(&Reclaim(&self.pool));
    }

    fn conv(&self, conv: &Conv, source: Source, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.convolve(conv, source, weight, bias)
    }

    fn conv_backward(&self, conv: &Conv, source: Source, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients> {
        self.convolve_backward(conv, source, weight, dy, wants_dx)
    }

    fn moments(&self, x: &Tensor) -> Result<Moments> {
        let channels = shape(x)?.channels;
        let (mean, variance) = norm::moments(self.isa, &f32s(x)?, channels);
        Ok(Moments { mean: Tensor::from_vec(mean, channels, &Device::Cpu)?, variance: Tensor::from_vec(variance, channels, &Device::Cpu)? })
    }

    fn moments_from(&self, running: &Tensor) -> Result<Tensor> {
        running.to_dtype(DType::F64)
    }

    fn norm(&self, norm: Norm, x: &Tensor, residual: Option<&Tensor>, moments: &Moments) -> Result<Tensor> {
        let (scale, shift, mean) = (f32s(norm.scale)?, f32s(norm.shift)?, f64s(&moments.mean)?);
        let [gain, offset] = norm::gain_and_offset(&scale, &shift, &mean, &inverse_std(moments, norm.eps)?);
        let (x_values, residual) = (f32s(x)?, residual.map(f32s).transpose()?);
        let mut y = self.pool.take(x_values.len());
        norm::affine(self.isa, &x_values, residual.as_deref(), [&gain, &offset], norm.activation, &mut y);
        like(y, x)
    }

    fn norm_backward(&self, norm: Norm, at: SavedNorm, dy: &Tensor) -> Result<NormGradients> {
        let (x, scale, shift, mean) = (f32s(at.x)?, f32s(norm.scale)?, f32s(norm.shift)?, f64s(&at.moments.mean)?);
        let y = if at.wants_dresidual { at.y.map(f32s).transpose()? } else { None };
        let [_, ceiling] = norm.activation.range();
        let mask = match &y {
            _ if norm.activation == Activation::None => norm::ActivationMask::None,
            Some(y) => norm::ActivationMask::FromOutput(y, ceiling),
            None => norm::ActivationMask::FromInput(ceiling),
        };
        let point = norm::ForwardPass {
            x: &x,
            mask,
            scale: &scale,
            shift: &shift,
            mean: &mean,
            inverse_std: &inverse_std(at.moments, norm.eps)?,
            batch_statistics: at.batch_statistics,
        };
        let (mut dx, mut dresidual) = (self.pool.take(x.len()), at.wants_dresidual.then(|| self.pool.take(x.len())));
        let gradients = norm::backward(self.isa, &point, &f32s(dy)?, &mut dx, dresidual.as_deref_mut());
        let dresidual = dresidual.map(|values| like(values, at.x)).transpose()?;
        Ok(NormGradients { dx: like(dx, at.x)?, dscale: vector(gradients.dscale)?, dshift: vector(gradients.dshift)?, dresidual })
    }

    fn activate(&self, activation: Activation, x: &Tensor) -> Result<Tensor> {
        let [low, high] = activation.range();
        like(maps::map(&self.pool, &f32s(x)?, |v| v.max(low).min(high)), x)
    }

    fn activate_backward(&self, activation: Activation, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let [low, high] = activation.range();
        like(maps::zip(&self.pool, &f32s(y)?, &f32s(dy)?, |y, d| if y > low && y < high { d } else { 0.0 }), y)
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        like(maps::zip(&self.pool, &f32s(a)?, &f32s(b)?, |a, b| a + b), a)
    }

    fn max_pool(&self, x: &Tensor) -> Result<Tensor> {
        let s = shape(x)?;
        feature(pooling::max_pool(self.isa, &self.pool, &f32s(x)?, s), s.batch, s.height.div_ceil(2), s.width.div_ceil(2), s.channels)
    }

    fn max_pool_backward(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        like(pooling::max_pool_backward(self.isa, &self.pool, &f32s(x)?, &f32s(y)?, &f32s(dy)?, shape(x)?), x)
    }

    fn upsample(&self, x: &Tensor) -> Result<Tensor> {
        let s = shape(x)?;
        feature(maps::upsample(&self.pool, &f32s(x)?, s), s.batch, 2 * s.height, 2 * s.width, s.channels)
    }

    fn upsample_backward(&self, dy: &Tensor) -> Result<Tensor> {
        let s = shape(dy)?;
        let half = Shape { height: s.height / 2, width: s.width / 2, ..s };
        feature(maps::upsample_backward(&self.pool, &f32s(dy)?, half), s.batch, half.height, half.width, s.channels)
    }

    fn concat(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let (s, t) = (shape(a)?, shape(b)?);
        feature(maps::concat(&self.pool, &f32s(a)?, s.channels, &f32s(b)?, t.channels), s.batch, s.height, s.width, s.channels + t.channels)
    }

    fn split(&self, dy: &Tensor, channels: usize) -> Result<(Tensor, Tensor)> {
        let s = shape(dy)?;
        let (a, b) = maps::split(&self.pool, &f32s(dy)?, channels, s.channels - channels);
        Ok((feature(a, s.batch, s.height, s.width, channels)?, feature(b, s.batch, s.height, s.width, s.channels - channels)?))
    }
}

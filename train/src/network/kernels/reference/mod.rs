//! Reference kernels: every operation in candle's tensor operations on `B C H W`, for any device and any float type. The fast kernels are
//! compared with them.
//!
//! Gradients are written out, because candle's own are wrong for nearest-neighbour upsampling and max pooling (as of 0.11.1).

mod taps;

use candle_core::{DType, Device, Result, Tensor};
use models::graph::{Conv, Depthwise};

use self::taps::{TAPS, dilate, gather_tap, scatter_tap, windows};
use super::{Activation, ConvGradients, Kernels, Moments, Norm, NormGradients, SavedNorm, Source, assemble_source, split_source_gradient};

/// Kernels made of candle's tensor operations.
pub struct Reference {
    device: Device,
    dtype: DType,
}

impl Reference {
    /// Creates kernels on `device` in `dtype`, which must be a float type.
    pub fn new(device: Device, dtype: DType) -> Self {
        Self { device, dtype }
    }
}

/// Reshapes a vector of `C` channels for broadcasting over `B C H W`.
fn over_pixels(v: &Tensor) -> Result<Tensor> {
    v.reshape((1, v.elem_count(), 1, 1))
}

fn sum_over_pixels(x: &Tensor) -> Result<Tensor> {
    x.sum(3)?.sum(2)?.sum(0)
}

fn inverse_std(moments: &Moments, eps: f64) -> Result<Tensor> {
    over_pixels(&(&moments.variance + eps)?.sqrt()?.recip()?)
}

/// Returns 1 where `condition` (u8) holds, else 0, in the type of `like`.
fn indicator(condition: &Tensor, like: &Tensor) -> Result<Tensor> {
    condition.to_dtype(like.dtype())
}

impl Kernels for Reference {
    fn device(&self) -> &Device {
        &self.device
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn import_feature(&self, nchw: &Tensor) -> Result<Tensor> {
        nchw.to_device(&self.device)?.to_dtype(self.dtype)?.contiguous()
    }

    fn export_feature(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }

    fn import_weight(&self, _: &Conv, weight: &Tensor) -> Result<Tensor> {
        self.import_feature(weight)
    }

    fn export_weight(&self, _: &Conv, weight: &Tensor) -> Result<Tensor> {
        Ok(weight.clone())
    }

    fn import_depthwise(&self, weight: &Tensor) -> Result<Tensor> {
        self.import_feature(weight)
    }

    fn export_depthwise(&self, weight: &Tensor) -> Result<Tensor> {
        Ok(weight.clone())
    }

    fn depthwise(&self, conv: &Depthwise, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let result = [h.div_ceil(conv.stride), w.div_ceil(conv.stride)];
        let product = |[i, j]: [usize; 2]| {
            gather_tap(x, conv.stride, [i, j], result)?.broadcast_mul(&over_pixels(&weight.narrow(2, i, 1)?.narrow(3, j, 1)?)?)
        };
        let y = TAPS[1..].iter().try_fold(product(TAPS[0])?, |sum, tap| sum + product(*tap)?)?;
        bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(&over_pixels(bias)?))
    }

    fn depthwise_backward(&self, conv: &Depthwise, x: &Tensor, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients> {
        let (_, _, h, w) = x.dims4()?;
        let (_, _, rows, columns) = dy.dims4()?;
        let of_tap = |tap: &[usize; 2]| sum_over_pixels(&(gather_tap(x, conv.stride, *tap, [rows, columns])? * dy)?);
        let dweight = Tensor::stack(&TAPS.iter().map(of_tap).collect::<Result<Vec<_>>>()?, 1)?.reshape((conv.channels, 1, 3, 3))?;
        let given = |[i, j]: [usize; 2]| {
            let dy = dy.broadcast_mul(&over_pixels(&weight.narrow(2, i, 1)?.narrow(3, j, 1)?)?)?;
            scatter_tap(&dy, conv.stride, [i, j], [h, w])
        };
        let dx = wants_dx.then(|| TAPS[1..].iter().try_fold(given(TAPS[0])?, |sum, tap| sum + given(*tap)?)).transpose()?;
        let dbias = conv.bias.then(|| sum_over_pixels(dy)).transpose()?;
        Ok(ConvGradients { dx, dskip: None, dweight, dbias })
    }

    fn conv(&self, conv: &Conv, source: Source, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let x = assemble_source(self, source)?;
        let y = x.conv2d(weight, conv.kernel / 2, conv.stride, 1, 1)?;
        bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(&over_pixels(bias)?))
    }

    fn conv_backward(&self, conv: &Conv, source: Source, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients> {
        let x = assemble_source(self, source)?;
        let (_, _, h, w) = x.dims4()?;
        let (_, _, oh, ow) = dy.dims4()?;
        let padding = conv.kernel / 2;
        let (dx, dskip) = if wants_dx {
            // Rows at the far border that no window of the forward pass reached still need a gradient of 0: the output padding.
            let missing = |size: usize, out: usize| size + 2 * padding - ((out - 1) * conv.stride + conv.kernel);
            assert_eq!(missing(h, oh), missing(w, ow), "height and width of the input must need the same output padding");
            let dx = dy.conv_transpose2d(weight, padding, missing(h, oh), conv.stride, 1)?;
            let first = if let Source::Upsampled { small, .. } = source { small.dim(1)? } else { conv.inputs };
            let (dx, dskip) = split_source_gradient(self, source, first, dx)?;
            (Some(dx), dskip)
        } else {
            (None, None)
        };
        // The weight gradient is itself a convolution with batch and channels exchanged, dilated by the stride.
        let products = x.transpose(0, 1)?.contiguous()?.conv2d(&dy.transpose(0, 1)?.contiguous()?, padding, 1, conv.stride, 1)?;
        let dweight = products.narrow(2, 0, conv.kernel)?.narrow(3, 0, conv.kernel)?.transpose(0, 1)?.contiguous()?;
        let dbias = if conv.bias { Some(sum_over_pixels(dy)?) } else { None };
        Ok(ConvGradients { dx, dskip, dweight, dbias })
    }

    fn moments(&self, x: &Tensor) -> Result<Moments> {
        let (b, _, h, w) = x.dims4()?;
        let count = (b * h * w) as f64;
        let mean = (sum_over_pixels(x)? / count)?;
        let variance = (sum_over_pixels(&x.broadcast_sub(&over_pixels(&mean)?)?.sqr()?)? / count)?;
        Ok(Moments { mean, variance })
    }

    fn moments_from(&self, running: &Tensor) -> Result<Tensor> {
        Ok(running.clone())
    }

    fn norm(&self, norm: Norm, x: &Tensor, residual: Option<&Tensor>, moments: &Moments) -> Result<Tensor> {
        let unit = x.broadcast_sub(&over_pixels(&moments.mean)?)?.broadcast_mul(&inverse_std(moments, norm.eps)?)?;
        let y = unit.broadcast_mul(&over_pixels(norm.scale)?)?.broadcast_add(&over_pixels(norm.shift)?)?;
        let y = residual.map_or(Ok(y.clone()), |residual| y + residual)?;
        self.activate(norm.activation, &y)
    }

    fn norm_backward(&self, norm: Norm, at: SavedNorm, dy: &Tensor) -> Result<NormGradients> {
        let SavedNorm { x, y, moments, batch_statistics, wants_dresidual } = at;
        let (b, _, h, w) = x.dims4()?;
        let count = (b * h * w) as f64;
        let dy = match y {
            Some(y) => self.activate_backward(norm.activation, y, dy)?,
            None => dy.clone(),
        };
        let dresidual = wants_dresidual.then(|| dy.clone());
        let inverse_std = inverse_std(moments, norm.eps)?;
        let unit = x.broadcast_sub(&over_pixels(&moments.mean)?)?.broadcast_mul(&inverse_std)?;
        let (dshift, dscale) = (sum_over_pixels(&dy)?, sum_over_pixels(&(&dy * &unit)?)?);
        let gain = (over_pixels(norm.scale)? * inverse_std)?;
        let centred = if batch_statistics {
            let along_unit = unit.broadcast_mul(&over_pixels(&(&dscale / count)?)?)?;
            (dy.broadcast_sub(&over_pixels(&(&dshift / count)?)?)? - along_unit)?
        } else {
            dy
        };
        Ok(NormGradients { dx: centred.broadcast_mul(&gain)?, dscale, dshift, dresidual })
    }

    fn activate(&self, activation: Activation, x: &Tensor) -> Result<Tensor> {
        match activation {
            Activation::None => Ok(x.clone()),
            Activation::Relu => x.relu(),
            Activation::Relu6 => x.relu()?.minimum(6.0),
        }
    }

    fn activate_backward(&self, activation: Activation, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        match activation {
            Activation::None => Ok(dy.clone()),
            Activation::Relu => dy * indicator(&y.gt(0.0)?, dy)?,
            Activation::Relu6 => (dy * indicator(&y.gt(0.0)?, dy)?)? * indicator(&y.lt(6.0)?, dy)?,
        }
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        a + b
    }

    fn max_pool(&self, x: &Tensor) -> Result<Tensor> {
        let values = windows(x)?;
        values[1..].iter().try_fold(values[0].clone(), |best, v| best.maximum(v))
    }

    fn max_pool_backward(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        let mut open = dy.clone();
        let mut padded = Tensor::zeros((b, c, h + 2, w + 2), dy.dtype(), dy.device())?;
        for (i, value) in windows(x)?.iter().enumerate() {
            let (row, column) = (i / 3, i % 3);
            let hit = indicator(&value.eq(y)?, dy)?;
            let here = dilate(&(&open * &hit)?, row % 2, column % 2)?;
            open = (&open * (1.0 - hit)?)?;
            let (top, left) = (row / 2 * 2, column / 2 * 2);
            padded = (padded + here.pad_with_zeros(2, top, 2 - top)?.pad_with_zeros(3, left, 2 - left)?)?;
        }
        padded.narrow(2, 1, h)?.narrow(3, 1, w)?.contiguous()
    }

    fn upsample(&self, x: &Tensor) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        x.upsample_nearest2d(2 * h, 2 * w)
    }

    fn upsample_backward(&self, dy: &Tensor) -> Result<Tensor> {
        let (b, c, h, w) = dy.dims4()?;
        dy.reshape((b, c, h / 2, 2, w / 2, 2))?.sum(5)?.sum(3)
    }

    fn concat(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        Tensor::cat(&[a, b], 1)
    }

    fn split(&self, dy: &Tensor, channels: usize) -> Result<(Tensor, Tensor)> {
        let rest = dy.dim(1)? - channels;
        Ok((dy.narrow(1, 0, channels)?.contiguous()?, dy.narrow(1, channels, rest)?.contiguous()?))
    }
}

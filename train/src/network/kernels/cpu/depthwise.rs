//! Depthwise convolutions, always in f32 whatever the precision of the dense ones.

use candle_core::{Device, Result, Tensor};
use kernels::depthwise::{Depthwise as Kernel, transposed};
use kernels::epilogue::Epilogue;
use kernels::geometry::Geometry;
use kernels::{HaloRows, Shape, maps};
use models::graph::Depthwise;

use super::Cpu;
use super::tensors::{f32s, feature, like, shape, tensor, vector};
use crate::network::kernels::ConvGradients;

/// Converts a weight `[tap][channel]` to `C 1 3 3`.
pub(super) fn unpack(weight: &Tensor) -> Result<Tensor> {
    let values = f32s(weight)?;
    let channels = values.len() / 9;
    Tensor::from_vec(transposed(&values, 9, channels), (channels, 1, 3, 3), &Device::Cpu)
}

impl Cpu {
    /// Converts a weight `C 1 3 3` to `[tap][channel]`.
    pub(super) fn pack_depthwise(&self, weight: &Tensor) -> Result<Tensor> {
        let values = transposed(&f32s(&weight.contiguous()?)?, weight.dim(0)?, 9);
        tensor(maps::copy(&self.pool, &values))
    }

    fn depthwise_kernel(&self, conv: &Depthwise, x: Shape) -> Kernel<'_> {
        assert_eq!(x.channels, conv.channels, "channels of the input");
        let geometry = Geometry { batch: x.batch, height: x.height, width: x.width, kernel: 3, stride: conv.stride, halo: HaloRows::NONE };
        Kernel { isa: self.isa, pool: &self.pool, geometry, channels: conv.channels }
    }

    pub(super) fn convolve_depthwise(&self, conv: &Depthwise, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let s = shape(x)?;
        let kernel = self.depthwise_kernel(conv, s);
        let (rows, columns) = kernel.geometry.output();
        let bias = bias.map(f32s).transpose()?;
        let mut y = self.pool.take(s.batch * rows * columns * s.channels);
        kernel.convolve(&f32s(x)?, &f32s(weight)?, Epilogue { bias: bias.as_deref(), ..Epilogue::default() }, &mut y);
        feature(y, s.batch, rows, columns, s.channels)
    }

    pub(super) fn convolve_depthwise_backward(
        &self,
        conv: &Depthwise,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<ConvGradients> {
        let kernel = self.depthwise_kernel(conv, shape(x)?);
        let (values, gradient) = (f32s(x)?, f32s(dy)?);
        let dweight = tensor(kernel.weight_gradient(&values, &gradient))?;
        let dbias = conv.bias.then(|| vector(maps::sum_over_pixels(&gradient, conv.channels))).transpose()?;
        if !wants_dx {
            return Ok(ConvGradients { dx: None, dskip: None, dweight, dbias });
        }
        let mut dx = self.pool.take(values.len());
        kernel.data_gradient(&gradient, &f32s(weight)?, &mut dx);
        Ok(ConvGradients { dx: Some(like(dx, x)?), dskip: None, dweight, dbias })
    }
}

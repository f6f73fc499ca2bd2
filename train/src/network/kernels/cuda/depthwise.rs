//! Depthwise convolutions by kernels of this crate, because they are bound by memory bandwidth. Weights are f32, `[tap][channel]`.

use candle_core::{Result, Tensor};
use models::graph::Depthwise;

use super::super::ConvGradients;
use super::launch::{Arg, int, long, over};
use super::{Cuda, Machine};

/// Converts a weight `[tap][channel]` to `C 1 3 3`.
pub(super) fn unpack(weight: &Tensor) -> Result<Tensor> {
    let channels = weight.elem_count() / 9;
    weight.reshape((3, 3, 1, channels))?.permute((3, 2, 0, 1))?.contiguous()
}

/// Returns the extents in the order of `DEPTHWISE_PARAMETERS` in `cu/depthwise.cu`.
fn extents(x: &Tensor, conv: &Depthwise) -> Result<Vec<Arg<'static>>> {
    let (images, height, width, channels) = x.dims4()?;
    assert_eq!(channels, conv.channels, "channels of the input");
    let of = |size: usize| size.div_ceil(conv.stride);
    Ok([images, height, width, channels, conv.stride, of(height), of(width)].map(int).to_vec())
}

impl<M: Machine> Cuda<M> {
    /// Converts a weight `C 1 3 3` to `[tap][channel]`.
    pub(super) fn pack_depthwise(&self, weight: &Tensor) -> Result<Tensor> {
        let values = weight.to_dtype(candle_core::DType::F32)?.permute((2, 3, 1, 0))?.contiguous()?.flatten_all()?;
        // The copy is needed even on the same device, because the optimiser changes the parameter in place.
        values.to_device(self.machine.device())?.copy()
    }

    pub(super) fn convolve_depthwise(&self, conv: &Depthwise, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (images, height, width, channels) = x.dims4()?;
        let (rows, columns) = (height.div_ceil(conv.stride), width.div_ceil(conv.stride));
        let y = self.empty_feature(&[images, rows, columns, channels])?;
        let (moved, ending) = self.width(&[channels]);
        let mut args = vec![x.into(), weight.into(), (&y).into()];
        args.extend(extents(x, conv)?);
        self.run(&format!("depthwise_forward_{ending}"), over(y.elem_count() / moved), &args)?;
        if let Some(bias) = bias {
            self.run("add_bias", over(y.elem_count()), &[(&y).into(), bias.into(), int(images * rows * columns), int(channels)])?;
        }
        Ok(y)
    }

    pub(super) fn convolve_depthwise_backward(
        &self,
        conv: &Depthwise,
        x: &Tensor,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<ConvGradients> {
        let dweight = self.depthwise_filter(conv, x, dy)?;
        let dbias = conv.bias.then(|| self.bias_gradient(dy)).transpose()?;
        if !wants_dx {
            return Ok(ConvGradients { dx: None, dskip: None, dweight, dbias });
        }
        let dx = self.empty_feature(x.dims())?;
        let (moved, ending) = self.width(&[conv.channels]);
        let mut args = vec![(&dx).into(), weight.into(), dy.into()];
        args.extend(extents(x, conv)?);
        self.run(&format!("depthwise_data_{ending}"), over(dx.elem_count() / moved), &args)?;
        Ok(ConvGradients { dx: Some(dx), dskip: None, dweight, dbias })
    }

    fn depthwise_filter(&self, conv: &Depthwise, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        let rows = self.rows("depthwise_filter", dy)?;
        let (chunk, chunks) = rows.parts();
        let sums = self.floats(&[chunks, 9 * conv.channels])?;
        let mut args = vec![x.into(), dy.into()];
        args.extend(extents(x, conv)?);
        args.extend([long(chunk), (&sums).into()]);
        self.run(&rows.kernel, rows.part_grid(), &args)?;
        let dweight = self.floats(&[9 * conv.channels])?;
        self.reduce_parts(&sums, None, &dweight, None)?;
        Ok(dweight)
    }
}

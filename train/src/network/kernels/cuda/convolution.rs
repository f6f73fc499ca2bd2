//! Convolutions: weights in their layout, and the three passes.

use candle_core::{DType, Result, Tensor};
use models::graph::Conv;

use super::super::{ConvGradients, Source};
use super::launch::{int, long, over};
use super::{Cuda, Geometry, Machine, Pass};

/// Values of a filter.
fn count(conv: &Conv) -> usize {
    conv.outputs * conv.inputs * conv.kernel * conv.kernel
}

/// `O I K K` of a weight or of its gradient.
pub fn bring_out_weight(conv: &Conv, weight: &Tensor) -> Result<Tensor> {
    let values = weight.narrow(0, 0, count(conv))?.to_dtype(DType::F32)?;
    values.reshape((conv.outputs, conv.kernel, conv.kernel, conv.inputs))?.permute((0, 3, 1, 2))?.contiguous()
}

/// Where the copy in bf16 stands behind `n` floats: on a boundary of 16 bytes.
fn copy_offset(n: usize) -> usize {
    n.next_multiple_of(4)
}

impl<M: Machine> Cuda<M> {
    /// `O I K K` as `O K K I` in f32, and behind it the same in bf16 where maps are bf16.
    pub(super) fn bring_in_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor> {
        let n = count(conv);
        let values = weight.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()?.flatten_all()?;
        assert_eq!(values.elem_count(), n, "values of a filter");
        let length = if self.machine.map_type() == DType::F32 { n } else { copy_offset(n) + n.div_ceil(2) };
        let whole = values.pad_with_zeros(0, 0, length - n)?.to_device(self.machine.device())?;
        // A copy of its own even where the device is the same: it will be changed in place.
        let whole = whole.copy()?;
        if length > n {
            self.refresh_copy(&whole, n)?;
        }
        Ok(whole)
    }

    /// The address of the copy in bf16 behind `n` values; 0 where there is none.
    pub(super) fn copy_address(&self, parameter: &Tensor, n: usize) -> Result<u64> {
        let base = self.machine.address(parameter)?;
        Ok(if parameter.elem_count() > n { base + 4 * copy_offset(n) as u64 } else { 0 })
    }

    fn refresh_copy(&self, whole: &Tensor, n: usize) -> Result<()> {
        let copy = super::launch::Arg::Is(super::Value::Address(self.copy_address(whole, n)?));
        self.run("copy_weight", over(n), &[whole.into(), copy, long(n)])
    }

    /// The address that convolutions read.
    fn filter(&self, conv: &Conv, weight: &Tensor) -> Result<u64> {
        match self.copy_address(weight, count(conv))? {
            0 => self.machine.address(weight),
            copy => Ok(copy),
        }
    }

    /// What a convolution reads, as one map.
    fn read(&self, source: Source) -> Result<Tensor> {
        match source {
            Source::Map(x) => Ok(x.clone()),
            Source::Upsampled { small, skip } => self.assemble(small, skip, true),
        }
    }

    pub(super) fn convolve(&self, conv: &Conv, source: Source, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let x = self.read(source)?;
        let geometry = Geometry::of(conv, &x)?;
        let [height, width] = geometry.result();
        let y = self.map(&[geometry.batch, height, width, conv.outputs])?;
        let (from, filter, to) = (self.machine.address(&x)?, self.filter(conv, weight)?, self.machine.address(&y)?);
        // SAFETY: the tensors have the sizes of the geometry.
        unsafe { self.machine.convolve(Pass::Forward, &geometry, from, filter, to)? };
        if let Some(bias) = bias {
            let args = [(&y).into(), bias.into(), int(geometry.batch * height * width), int(conv.outputs)];
            self.run("add_bias", over(y.elem_count()), &args)?;
        }
        Ok(y)
    }

    pub(super) fn convolve_backward(
        &self,
        conv: &Conv,
        source: Source,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<ConvGradients> {
        let x = self.read(source)?;
        let geometry = Geometry::of(conv, &x)?;
        let dweight = self.map(&[count(conv)])?;
        let (at_x, at_y, at_dweight) = (self.machine.address(&x)?, self.machine.address(dy)?, self.machine.address(&dweight)?);
        // SAFETY: the tensors have the sizes of the geometry.
        unsafe { self.machine.convolve(Pass::Filter, &geometry, at_x, at_dweight, at_y)? };
        let dbias = conv.bias.then(|| self.bias_gradient(dy)).transpose()?;
        if !wants_dx {
            return Ok(ConvGradients { dx: None, dskip: None, dweight, dbias });
        }
        let dx = self.map(x.dims())?;
        let (at_dx, filter) = (self.machine.address(&dx)?, self.filter(conv, weight)?);
        // SAFETY: as above.
        unsafe { self.machine.convolve(Pass::Data, &geometry, at_dx, filter, at_y)? };
        let (dx, dskip) = match source {
            Source::Map(_) => (dx, None),
            Source::Upsampled { small, .. } => self.disassemble(&dx, small.dim(3)?, true)?,
        };
        Ok(ConvGradients { dx: Some(dx), dskip, dweight, dbias })
    }
}

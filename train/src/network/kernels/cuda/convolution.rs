//! Dense convolutions: the layout of weights, and the three passes (forward, data gradient, filter gradient).

use candle_core::{DType, Result, Tensor};
use models::graph::Conv;

use super::super::{ConvGradients, Source};
use super::launch::{Arg, int, long, over};
use super::upsampled::PhaseConvolution;
use super::{Cuda, Geometry, KernelArg, Machine, Pass};

/// Returns the number of values of a filter.
fn count(conv: &Conv) -> usize {
    conv.outputs * conv.inputs * conv.kernel * conv.kernel
}

/// Converts a weight, or its gradient, to `O I K K`.
pub fn unpack_weight(conv: &Conv, weight: &Tensor) -> Result<Tensor> {
    let values = weight.narrow(0, 0, count(conv))?.to_dtype(DType::F32)?;
    values.reshape((conv.outputs, conv.kernel, conv.kernel, conv.inputs))?.permute((0, 3, 1, 2))?.contiguous()
}

/// Returns the offset, in floats, of the bf16 copy behind `n` floats: aligned to 16 bytes.
fn copy_offset(n: usize) -> usize {
    n.next_multiple_of(4)
}

impl<M: Machine> Cuda<M> {
    /// Converts a weight `O I K K` to `O K K I` in f32, followed by a bf16 copy if feature maps are bf16.
    pub(super) fn pack_weight(&self, conv: &Conv, weight: &Tensor) -> Result<Tensor> {
        let n = count(conv);
        let values = weight.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()?.flatten_all()?;
        assert_eq!(values.elem_count(), n, "values of a filter");
        let length = if self.machine.feature_dtype() == DType::F32 { n } else { copy_offset(n) + n.div_ceil(2) };
        let whole = values.pad_with_zeros(0, 0, length - n)?.to_device(self.machine.device())?;
        // The copy is needed even on the same device, because the optimiser changes the parameter in place.
        let whole = whole.copy()?;
        if length > n {
            self.refresh_copy(&whole, n)?;
        }
        Ok(whole)
    }

    /// Returns the address of the bf16 copy behind the `n` values of a parameter, or 0 if there is none.
    pub(super) fn copy_address(&self, parameter: &Tensor, n: usize) -> Result<u64> {
        let base = self.machine.address(parameter)?;
        Ok(if parameter.elem_count() > n { base + 4 * copy_offset(n) as u64 } else { 0 })
    }

    /// Rounds the f32 values to the bf16 copy behind them.
    fn refresh_copy(&self, whole: &Tensor, n: usize) -> Result<()> {
        let copy = Arg::Scalar(KernelArg::Address(self.copy_address(whole, n)?));
        self.run("copy_weight", over(n), &[whole.into(), copy, long(n)])
    }

    /// Returns the address of the filter in the type of feature maps.
    fn filter(&self, conv: &Conv, weight: &Tensor) -> Result<u64> {
        match self.copy_address(weight, count(conv))? {
            0 => self.machine.address(weight),
            copy => Ok(copy),
        }
    }

    /// Runs one pass by the machine's library (cuDNN), or by a direct kernel if the library has no algorithm. The addresses are those of
    /// `x`, `w` and `y`, with the sizes of the geometry.
    pub(super) fn product(&self, pass: Pass, geometry: &Geometry, [x, w, y]: [u64; 3]) -> Result<()> {
        // SAFETY: callers pass tensors of the geometry's sizes.
        if unsafe { self.machine.convolve(pass, geometry, x, w, y)? } {
            return Ok(());
        }
        let Geometry { batch, height, width, inputs, outputs, kernel, stride } = *geometry;
        let [rows, columns] = geometry.result();
        let (name, values) = match pass {
            Pass::Forward => ("direct_forward", batch * rows * columns * outputs),
            Pass::Data => ("direct_data", batch * height * width * inputs),
            Pass::Filter => ("direct_filter", outputs * kernel * kernel * inputs),
        };
        let mut args = [x, w, y].map(|address| Arg::Scalar(KernelArg::Address(address))).to_vec();
        args.extend([batch, height, width, inputs, outputs, kernel, stride, rows, columns].map(int));
        self.run(name, over(values), &args)
    }

    fn convolve_map(&self, conv: &Conv, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let geometry = Geometry::of(conv, x)?;
        let [height, width] = geometry.result();
        let y = self.empty_feature(&[geometry.batch, height, width, conv.outputs])?;
        self.product(Pass::Forward, &geometry, [self.machine.address(x)?, self.filter(conv, weight)?, self.machine.address(&y)?])?;
        Ok(y)
    }

    pub(super) fn convolve(&self, conv: &Conv, source: Source, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let y = match source {
            Source::FeatureMap(x) => self.convolve_map(conv, x, weight)?,
            Source::Upsampled { small, skip } => self.convolve_upsampled(&PhaseConvolution::of(conv, small, skip)?, weight)?,
        };
        if let Some(bias) = bias {
            let args = [(&y).into(), bias.into(), int(y.elem_count() / conv.outputs), int(conv.outputs)];
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
        let mut gradients = match source {
            Source::FeatureMap(x) => self.convolve_map_backward(conv, x, weight, dy, wants_dx)?,
            Source::Upsampled { small, skip } => {
                self.convolve_upsampled_backward(&PhaseConvolution::of(conv, small, skip)?, weight, dy, wants_dx)?
            }
        };
        gradients.dbias = conv.bias.then(|| self.bias_gradient(dy)).transpose()?;
        Ok(gradients)
    }

    /// Computes the gradients without that of the bias.
    fn convolve_map_backward(&self, conv: &Conv, x: &Tensor, weight: &Tensor, dy: &Tensor, wants_dx: bool) -> Result<ConvGradients> {
        let geometry = Geometry::of(conv, x)?;
        let dweight = self.empty_feature(&[count(conv)])?;
        let at_y = self.machine.address(dy)?;
        self.product(Pass::Filter, &geometry, [self.machine.address(x)?, self.machine.address(&dweight)?, at_y])?;
        let mut gradients = ConvGradients { dx: None, dskip: None, dweight, dbias: None };
        if wants_dx {
            let dx = self.empty_feature(x.dims())?;
            self.product(Pass::Data, &geometry, [self.machine.address(&dx)?, self.filter(conv, weight)?, at_y])?;
            gradients.dx = Some(dx);
        }
        Ok(gradients)
    }
}

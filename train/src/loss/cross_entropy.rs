//! Cross-entropy over labelled pixels: the losses `L_sp` on scribbles and `L_up` on pseudo-labels of Scribble2Label (MICCAI 2020),
//! equations 1 and 3.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::sigmoid;

use super::{IGNORE, LossValue, Term};
use crate::network::kernels::Kernels;

/// Computes the mean of `softplus(-(z1 - z0))` over pixels labelled 1 and `softplus(z1 - z0)` over pixels labelled 0.
///
/// `logits` is `B 2 H W` with channels background and nucleus; `labels` is u8 `B H W` with 0, 1 and [`IGNORE`]. The mean runs over all
/// labelled pixels of the batch. It is 0, with gradient 0, if there are none.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Term> {
    let (_, classes, _, _) = logits.dims4()?;
    assert_eq!(classes, 2, "background and nucleus");
    let labels = labels.to_device(logits.device())?;
    let known = labels.ne(IGNORE)?.to_dtype(logits.dtype())?;
    let positive = labels.eq(1u8)?.to_dtype(logits.dtype())?;
    let count = known.to_dtype(DType::F64)?.sum_all()?.to_vec0::<f64>()?.max(1.0);
    let margin = (logits.narrow(1, 1, 1)? - logits.narrow(1, 0, 1)?)?.squeeze(1)?;
    // softplus(m) - y m = max(m, 0) - y m + log(1 + exp(-|m|)), which takes no exponential of a positive number.
    let small = (margin.abs()?.neg()?.exp()? + 1.0)?.log()?;
    let each = ((margin.relu()? - (&positive * &margin)?)? + small)?;
    let value = (each * &known)?.to_dtype(DType::F64)?.sum_all()?.to_vec0::<f64>()? / count;
    let slope = (((sigmoid(&margin)? - positive)? * known)? / count)?.unsqueeze(1)?;
    Ok(Term { value, gradient: Tensor::cat(&[&slope.neg()?, &slope], 1)? })
}

/// Computes [`cross_entropy`] for one or two label planes, on the device if its kernels are fused: the value of each plane, and the
/// gradient of their weighted sum.
pub fn cross_entropies(kernels: &dyn Kernels, logits: &Tensor, planes: &[(&[u8], f64)]) -> Result<(Vec<LossValue>, Tensor)> {
    if let Some(fused) = kernels.fused() {
        let (values, gradient) = fused.cross_entropy(logits, planes)?;
        let readings = (0..planes.len()).map(|i| Ok(LossValue::Device(values.get(i)?))).collect::<Result<_>>()?;
        return Ok((readings, gradient));
    }
    let (b, _, h, w) = logits.dims4()?;
    let (mut values, mut sum) = (Vec::new(), None);
    for (labels, weight) in planes {
        let term = cross_entropy(logits, &Tensor::from_slice(labels, (b, h, w), &Device::Cpu)?)?;
        values.push(LossValue::Host(term.value));
        sum = Some(match sum {
            None if *weight == 1.0 => term.gradient,
            None => (term.gradient * *weight)?,
            Some(sum) => (sum + (term.gradient * *weight)?)?,
        });
    }
    Ok((values, sum.expect("at least one label plane")))
}

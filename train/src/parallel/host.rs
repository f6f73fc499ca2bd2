//! Communicator over host memory, for ranks on the processor; GPUs use NCCL.

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Tensor, bail};
use half::bf16;
use support::Result;

use super::{Communicator, Participant, Rendezvous};

/// Communicator of a rank whose tensors are in host memory. Sums are in f64 and in rank order, and each mean is rounded once.
pub struct HostCommunicator(Participant);

impl HostCommunicator {
    /// Creates the communicators of `size` ranks, in rank order.
    pub fn ranks(size: usize) -> Vec<Self> {
        Rendezvous::participants(size).into_iter().map(Self).collect()
    }
}

impl Communicator for HostCommunicator {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn all_reduce_mean_scalars(&self, numbers: &mut [f64]) -> Result<()> {
        self.0.all_reduce_mean(numbers)
    }

    fn all_reduce_mean(&self, tensors: &[&Tensor]) -> Result<()> {
        let mut numbers = Vec::new();
        for tensor in tensors {
            assert!(matches!(tensor.device(), Device::Cpu) && tensor.is_contiguous(), "tensors are contiguous and in host memory");
            numbers.extend(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?);
        }
        self.0.all_reduce_mean(&mut numbers)?;
        let mut rest = numbers.as_slice();
        for tensor in tensors {
            let (values, remaining) = rest.split_at(tensor.elem_count());
            tensor.inplace_op1(&Overwrite(values))?;
            rest = remaining;
        }
        Ok(())
    }

    fn leave(&self) {
        self.0.leave();
    }

    fn first_to_leave(&self) -> Option<usize> {
        self.0.first_to_leave()
    }
}

/// In-place operation that overwrites a tensor with these values, rounded to its type.
struct Overwrite<'a>(&'a [f64]);

impl InplaceOp1 for Overwrite<'_> {
    fn name(&self) -> &'static str {
        "overwrite"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((from, to)) = layout.contiguous_offsets() else { bail!("expected contiguous values") };
        let values = self.0;
        match storage {
            CpuStorage::BF16(all) => all[from..to].iter_mut().zip(values).for_each(|(v, mean)| *v = bf16::from_f64(*mean)),
            CpuStorage::F32(all) => all[from..to].iter_mut().zip(values).for_each(|(v, mean)| *v = *mean as f32),
            CpuStorage::F64(all) => all[from..to].copy_from_slice(values),
            _ => bail!("no gradient or statistic is of this type"),
        }
        Ok(())
    }
}

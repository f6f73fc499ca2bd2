//! NCCL communicator over the GPUs of this machine: all-reduce on the stream of each device.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::cuda_backend::cudarc::nccl::result::{NcclError, all_reduce, comm_abort, comm_init_all, group_end, group_start};
use candle_core::cuda_backend::cudarc::nccl::sys;
use candle_core::{DType, Error, Tensor};
use support::{Context, Result};

use super::{Gpu, memory};
use crate::parallel::{Communicator, Participant, Rendezvous};

/// NCCL communicator of one rank, with a rendezvous of the ranks' threads on the host.
pub struct Nccl {
    participant: Participant,
    communicator: sys::ncclComm_t,
    stream: Arc<CudaStream>,
}

// SAFETY: NCCL allows a communicator on any thread as long as one thread uses it at a time, and each rank is one thread.
unsafe impl Send for Nccl {}
// SAFETY: as above.
unsafe impl Sync for Nccl {}

impl Nccl {
    /// Creates the communicators of all GPUs in their order; one thread drives each.
    pub fn join(gpus: &[&Gpu]) -> Result<Vec<Self>> {
        let ordinals: Vec<i32> = gpus.iter().map(|gpu| gpu.stream.context().ordinal() as i32).collect();
        let mut communicators = vec![std::ptr::null_mut(); gpus.len()];
        // SAFETY: both arrays have one entry for every GPU.
        unsafe { comm_init_all(communicators.as_mut_ptr(), ordinals.len() as i32, ordinals.as_ptr()) }
            .map_err(wrap)
            .doing(|| format!("creating NCCL communicators for {} GPUs", gpus.len()))
            .hint(|| "libnccl must be on LD_LIBRARY_PATH; NCCL_DEBUG=INFO prints details; --set run.devices=1 works without")?;
        let ranks = Rendezvous::participants(gpus.len()).into_iter().zip(communicators).zip(gpus);
        Ok(ranks.map(|((participant, communicator), gpu)| Self { participant, communicator, stream: gpu.stream.clone() }).collect())
    }

    /// Enqueues the in-place mean of a tensor over all ranks.
    fn start(&self, tensor: &Tensor) -> candle_core::Result<()> {
        let dtype = match tensor.dtype() {
            DType::BF16 => sys::ncclDataType_t::ncclBfloat16,
            DType::F32 => sys::ncclDataType_t::ncclFloat32,
            DType::F64 => sys::ncclDataType_t::ncclFloat64,
            other => candle_core::bail!("no gradient or statistic is {other:?}"),
        };
        let at = memory::address(&self.stream, tensor)? as *mut std::ffi::c_void;
        let stream = self.stream.cu_stream().cast();
        // SAFETY: the tensor has as many values as stated, and the stream is that of its device.
        unsafe { all_reduce(at, at, tensor.elem_count(), dtype, sys::ncclRedOp_t::ncclAvg, self.communicator, stream) }.map_err(wrap)?;
        Ok(())
    }
}

impl Communicator for Nccl {
    fn rank(&self) -> usize {
        self.participant.rank()
    }

    fn size(&self) -> usize {
        self.participant.size()
    }

    fn all_reduce_mean_scalars(&self, numbers: &mut [f64]) -> Result<()> {
        self.participant.all_reduce_mean(numbers)
    }

    fn all_reduce_mean(&self, tensors: &[&Tensor]) -> Result<()> {
        // All ranks meet on the host first, because a rank that enqueued an all-reduce without the others would block its device for ever.
        self.participant.all_gather(Vec::new())?;
        self.stream.context().bind_to_thread().map_err(Error::wrap)?;
        group_start().map_err(wrap)?;
        let started = tensors.iter().try_for_each(|tensor| self.start(tensor));
        group_end().map_err(wrap)?;
        Ok(started?)
    }

    fn leave(&self) {
        self.participant.leave();
    }

    fn first_to_leave(&self) -> Option<usize> {
        self.participant.first_to_leave()
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        // SAFETY: this is the communicator's only owner. An error cannot be reported from a destructor.
        let _ = unsafe { comm_abort(self.communicator) };
    }
}

fn wrap(NcclError(status): NcclError) -> Error {
    Error::Msg(format!("NCCL reports {status:?}"))
}

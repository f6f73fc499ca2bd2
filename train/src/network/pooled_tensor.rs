//! A tensor whose memory returns to the buffer pool of its kernels when it is dropped.

use std::ops::Deref;
use std::sync::Arc;

use candle_core::Tensor;

use super::kernels::Kernels;

/// Result of a kernel that owns its memory. [`Kernels::recycle`] reuses the memory as soon as this value is dropped, so no clone of the
/// tensor inside may outlive it.
pub struct PooledTensor {
    tensor: Tensor,
    kernels: Arc<dyn Kernels>,
}

impl PooledTensor {
    pub(super) fn new(tensor: Tensor, kernels: &Arc<dyn Kernels>) -> Self {
        Self { tensor, kernels: kernels.clone() }
    }
}

impl Deref for PooledTensor {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

impl Drop for PooledTensor {
    fn drop(&mut self) {
        self.kernels.recycle(&self.tensor);
    }
}

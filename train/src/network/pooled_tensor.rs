//! A tensor whose memory goes back to its kernels when nothing needs it any more.

use std::ops::Deref;
use std::sync::Arc;

use candle_core::Tensor;

use super::kernels::Kernels;

/// A result of kernels. Its memory is used again as soon as it is dropped, so no copy of the tensor inside may outlive it.
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

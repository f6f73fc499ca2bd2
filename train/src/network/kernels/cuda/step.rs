//! Implementation of the fused operations of an optimiser step.

use candle_core::{Result, Tensor};

use super::super::{ContrastGroup, Fused, RAdamUpdate, RunningStatistics};
use super::{Cuda, Machine, losses};

impl<M: Machine> Fused for Cuda<M> {
    fn stage(&self, image: &Tensor) -> Result<Tensor> {
        self.machine.upload(image)
    }

    fn radam(&self, updates: &[RAdamUpdate], betas: [f32; 2], eps: f32) -> Result<()> {
        self.radam_all(updates, betas, eps)
    }

    fn update_averages(&self, pairs: &[(&Tensor, &Tensor, usize)], decay: f32) -> Result<()> {
        self.update_all_averages(pairs, decay)
    }

    fn update_running_statistics(&self, statistics: &[RunningStatistics], momentum: f64) -> Result<()> {
        self.update_all_statistics(statistics, momentum)
    }

    fn cross_entropy(&self, logits: &Tensor, planes: &[(&[u8], f64)]) -> Result<(Tensor, Tensor)> {
        self.cross_entropy_of_planes(logits, planes)
    }

    fn max_vector_len(&self) -> usize {
        losses::WIDTHS[losses::WIDTHS.len() - 1]
    }

    fn contrast(&self, z: &Tensor, groups: &[ContrastGroup]) -> Result<(Vec<Tensor>, Tensor)> {
        self.contrast_all(z, groups)
    }
}

//! The fused parts of a step, by name.

use candle_core::{Result, Tensor};

use super::super::{Change, Following, Fused, Vectors};
use super::{Cuda, Machine, losses};

impl<M: Machine> Fused for Cuda<M> {
    fn stage(&self, image: &Tensor) -> Result<Tensor> {
        self.machine.upload(image)
    }

    fn radam(&self, changes: &[Change], keep: [f32; 2], eps: f32) -> Result<()> {
        self.change_all(changes, keep, eps)
    }

    fn blend(&self, pairs: &[(&Tensor, &Tensor, usize)], keep: f32) -> Result<()> {
        self.blend_all(pairs, keep)
    }

    fn follow(&self, statistics: &[Following], momentum: f64) -> Result<()> {
        self.follow_all(statistics, momentum)
    }

    fn cross_entropy(&self, logits: &Tensor, planes: &[(&[u8], f64)]) -> Result<(Tensor, Tensor)> {
        self.classify(logits, planes)
    }

    fn widest_vector(&self) -> usize {
        losses::WIDTHS[losses::WIDTHS.len() - 1]
    }

    fn contrast(&self, z: &Tensor, groups: &[Vectors]) -> Result<(Vec<Tensor>, Tensor)> {
        self.contrast_all(z, groups)
    }
}

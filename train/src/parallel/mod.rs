//! Data parallelism: several devices train one network on parts of each batch, and their gradients are averaged by all-reduce.
//!
//! Every rank is a thread of this process with a device of its own, and holds the whole network. All ranks start with the same weights and
//! apply the same averaged gradients, so that their weights stay equal to the last bit. A step minimises the mean over the ranks of each
//! rank's loss; batch normalisation uses the statistics of the rank's own part of the batch.

mod host;
mod rendezvous;

use candle_core::Tensor;
use support::Result;

pub use host::HostCommunicator;
pub use rendezvous::{Participant, Rendezvous};

/// Communicator of one rank, as in NCCL and MPI. Every rank must make the same collective calls in the same order.
pub trait Communicator: Send + Sync {
    /// Returns the number of this rank, from 0 on.
    fn rank(&self) -> usize;
    /// Returns the number of ranks.
    fn size(&self) -> usize;
    /// Replaces each number by its mean over the ranks, summed in rank order.
    ///
    /// Fails if another rank has left.
    fn all_reduce_mean_scalars(&self, numbers: &mut [f64]) -> Result<()>;
    /// Replaces each value of these contiguous tensors by its mean over the ranks, in place and with the same bits on all of them. Shapes
    /// and types must be the same on every rank.
    ///
    /// Fails if another rank has left, or if the device reports an error.
    fn all_reduce_mean(&self, tensors: &[&Tensor]) -> Result<()>;
    /// Leaves the communicator: ranks that wait for this one get an error.
    fn leave(&self);
    /// Returns the rank that left first, if one has left.
    fn first_to_leave(&self) -> Option<usize>;
}

/// Communicator of a run on one device, which has nothing to exchange.
pub struct SingleRank;

impl Communicator for SingleRank {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_reduce_mean_scalars(&self, _: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn all_reduce_mean(&self, _: &[&Tensor]) -> Result<()> {
        Ok(())
    }

    fn leave(&self) {}

    fn first_to_leave(&self) -> Option<usize> {
        None
    }
}

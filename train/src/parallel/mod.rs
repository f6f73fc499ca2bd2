//! Several devices train one network: each has a share of every batch, and gradients are averaged (data parallelism).
//!
//! Every rank is a thread of this process with a device of its own, and holds the whole network. Ranks start alike and do alike
//! with the same averages, so that their weights stay the same to the last bit. What a step minimises is the mean over ranks of
//! each rank's loss; batch normalisation uses the statistics of the rank's own share.

mod host;
mod rendezvous;

use candle_core::Tensor;
use support::Result;

pub use host::HostCommunicator;
pub use rendezvous::{Participant, Rendezvous};

/// A rank's way to the others. Every rank must make the same calls in the same order.
pub trait Communicator: Send + Sync {
    /// Which rank this is, from 0 on.
    fn rank(&self) -> usize;
    /// How many there are.
    fn size(&self) -> usize;
    /// Each number becomes its mean over the ranks, summed in their order.
    ///
    /// An error says that another rank has ended.
    fn all_reduce_mean_scalars(&self, numbers: &mut [f64]) -> Result<()>;
    /// Each value of these contiguous tensors becomes its mean over the ranks, in place, the same bits on all of them. The tensors
    /// have the same shapes and types everywhere.
    ///
    /// An error says that another rank has ended, or what the device says.
    fn all_reduce_mean(&self, tensors: &[&Tensor]) -> Result<()>;
    /// This rank will come to no rendezvous any more: others that wait for it get an error.
    fn leave(&self);
    /// The rank that left first, if one has.
    fn first_to_leave(&self) -> Option<usize>;
}

/// The one rank of a run on one device.
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

//! Data parallelism of a step: replicas of the trainer, and means of gradients, statistics and losses over the ranks.

use std::sync::Arc;

use candle_core::Tensor;
use support::Result;

use super::{Head, Losses, Trainer};
use crate::network::kernels::Kernels;
use crate::network::{Gradients, Network, Tape};
use crate::optimizer::RAdam;
use crate::parallel::{Communicator, SingleRank};

impl Trainer {
    /// Copies weights and optimiser state to another device. The copy has no averaged weights, because only rank 0 maintains them.
    pub fn replica(&self, kernels: &Arc<dyn Kernels>) -> Result<Self> {
        let copy = |network: &Network| Network::new(network.graph().clone(), &network.weights()?, kernels.clone());
        let (network, mut heads, mut optimizer) = (copy(&self.network)?, Vec::new(), RAdam::default());
        self.optimizer.copy_state(&self.network, &network, &mut optimizer)?;
        for head in &self.heads {
            let network = copy(&head.network)?;
            self.optimizer.copy_state(&head.network, &network, &mut optimizer)?;
            heads.push(Head { term: head.term.clone(), network });
        }
        Ok(Self { network, heads, optimizer, average: None, config: self.config.clone(), communicator: Arc::new(SingleRank) })
    }

    /// Returns the rank of this trainer and the number of ranks.
    pub fn rank_and_size(&self) -> (usize, usize) {
        (self.communicator.rank(), self.communicator.size())
    }

    /// Joins the ranks of `communicator`: each later step is a collective operation of all ranks.
    pub fn join(&mut self, communicator: Arc<dyn Communicator>) {
        self.communicator = communicator;
    }
}

impl Losses {
    /// Returns the means of all values over the ranks.
    pub(super) fn mean_over(mut self, communicator: &dyn Communicator) -> Result<Self> {
        let mut numbers = vec![self.scribble, self.pseudo, self.total];
        numbers.extend(self.contrast.iter().map(|(_, value)| *value));
        communicator.all_reduce_mean_scalars(&mut numbers)?;
        (self.scribble, self.pseudo, self.total) = (numbers[0], numbers[1], numbers[2]);
        self.contrast.iter_mut().zip(&numbers[3..]).for_each(|((_, value), mean)| *value = *mean);
        Ok(self)
    }
}

/// Replaces gradients and batch statistics by their means over the ranks (all-reduce).
pub(super) fn average_gradients(communicator: &dyn Communicator, gradients: &Gradients, tape: &Tape) -> Result<()> {
    if communicator.size() == 1 {
        return Ok(());
    }
    let mut tensors: Vec<&Tensor> = gradients.parameters.values().map(|gradient| &**gradient).collect();
    tensors.extend(tape.moments().flat_map(|(_, moments)| [&moments.mean, &moments.variance]));
    communicator.all_reduce_mean(&tensors)
}

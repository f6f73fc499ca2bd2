//! What a step does differently where there are several ranks.

use std::sync::Arc;

use candle_core::Tensor;
use support::Result;

use super::{Alone, Group};
use crate::network::kernels::Kernels;
use crate::network::{Gradients, Network, Tape};
use crate::optimizer::RAdam;
use crate::step::{Head, Losses, Trainer};

impl Trainer {
    /// The same weights and the same state of the optimiser on another device; without averaged weights, which one device keeps.
    pub fn replica(&self, kernels: &Arc<dyn Kernels>) -> Result<Self> {
        let copy = |network: &Network| Network::new(network.graph().clone(), &network.weights()?, kernels.clone());
        let (network, mut heads, mut optimizer) = (copy(&self.network)?, Vec::new(), RAdam::default());
        self.optimizer.copy_slots(&self.network, &network, &mut optimizer)?;
        for head in &self.heads {
            let network = copy(&head.network)?;
            self.optimizer.copy_slots(&head.network, &network, &mut optimizer)?;
            heads.push(Head { term: head.term.clone(), network });
        }
        Ok(Self { network, heads, optimizer, average: None, config: self.config.clone(), group: Arc::new(Alone) })
    }

    /// Which rank of how many this is.
    pub fn place(&self) -> (usize, usize) {
        (self.group.rank(), self.group.size())
    }

    /// From now on, steps are those of all ranks of a group together.
    pub fn join(&mut self, group: Arc<dyn Group>) {
        self.group = group;
    }
}

impl Losses {
    /// The means over the ranks of a group.
    pub(crate) fn mean_over(mut self, group: &dyn Group) -> Result<Self> {
        let mut numbers = vec![self.scribble, self.pseudo, self.total];
        numbers.extend(self.contrast.iter().map(|(_, value)| *value));
        group.mean_of_numbers(&mut numbers)?;
        (self.scribble, self.pseudo, self.total) = (numbers[0], numbers[1], numbers[2]);
        self.contrast.iter_mut().zip(&numbers[3..]).for_each(|((_, value), mean)| *value = *mean);
        Ok(self)
    }
}

/// Gradients, and the statistics that running ones follow, become means over the ranks.
pub fn average(group: &dyn Group, gradients: &Gradients, tape: &Tape) -> Result<()> {
    if group.size() == 1 {
        return Ok(());
    }
    let mut tensors: Vec<&Tensor> = gradients.parameters.values().map(|gradient| &**gradient).collect();
    tensors.extend(tape.moments().flat_map(|(_, moments)| [&moments.mean, &moments.variance]));
    group.mean(&tensors)
}

//! Contrastive terms of a step: labels of the vectors, the term of a projection head, and the update of the head.

use candle_core::Tensor;
use support::Result;

use super::data_parallel::average_gradients;
use super::{Trainer, update};
use crate::config::{BlockRule, LabelSource, Scope};
use crate::loss::{Contrast, IGNORE, LossValue, Sampling, block_labels, contrast_on, scribbled_blocks};
use crate::network::Mode;
use crate::rng::CounterRng;

impl Trainer {
    /// Computes the contrastive term of head `i` and updates the head. Returns the value and the gradient at the feature tap.
    ///
    /// If no rank has a group with enough labelled vectors, the term is 0 and the head is not stepped: its step counter starts with its
    /// first term.
    pub(super) fn contrast(
        &mut self,
        i: usize,
        tap: &Tensor,
        scribble: &[u8],
        pseudo: &[u8],
        factor: f64,
        rng: &mut CounterRng,
    ) -> Result<(LossValue, Tensor)> {
        let method = &self.config.method;
        let head = &mut self.heads[i];
        let (b, _, h, w) = tap.dims4()?;
        let delta = head.term.delta;
        let mut labels = contrast_labels(method.label_source, method.block_rule, scribble, pseudo, [b, h * delta, w * delta], delta);
        let group = if method.scope == Scope::Image { h * w } else { b * h * w };
        let here = drop_small_groups(&mut labels, group, head.term.least_vectors);
        let mut ranks = [f64::from(u8::from(here))];
        self.communicator.all_reduce_mean_scalars(&mut ranks)?;
        if ranks[0] == 0.0 {
            return Ok((LossValue::Host(0.0), tap.zeros_like()?));
        }
        let contrast =
            Contrast { tau: head.term.tau, pair_rule: method.pair_rule, reduction: method.reduction, self_pairs: method.self_pairs };
        let sampling = Sampling { max_per_class: method.max_per_class, scope: method.scope };
        let mut tape = head.network.forward(tap, Mode::Train)?;
        let (kernels, z) = (head.network.kernels(), head.network.output(&tape)?);
        // A rank without a group runs the same calls as the others: its labels are all dropped, and its gradient is 0.
        let (value, gradient) = contrast_on(&**kernels, &contrast, &z, &labels, sampling, head.term.weight, rng)?;
        let gradients = head.network.backward_and_release(&mut tape, Some(&gradient), &[], true)?;
        average_gradients(&*self.communicator, &gradients, &tape)?;
        update(&mut head.network, &mut self.optimizer, &gradients, &self.config, factor)?;
        head.network.update_running_statistics(&tape, 0.1)?;
        Ok((value, gradients.image.expect("the image gradient was requested")))
    }
}

/// Returns the labels of the vectors, block by block: scribbles take precedence over pseudo-labels.
fn contrast_labels(source: LabelSource, rule: BlockRule, scribble: &[u8], pseudo: &[u8], [b, h, w]: [usize; 3], delta: usize) -> Vec<u8> {
    let labels: Vec<u8> = match source {
        LabelSource::ScribbleOnly => scribble.to_vec(),
        LabelSource::PseudoAndScribble => scribble.iter().zip(pseudo).map(|(&s, &u)| if s == IGNORE { u } else { s }).collect(),
    };
    let blocks = block_labels(&labels, b, h, w, delta);
    match rule {
        BlockRule::All16 => blocks,
        BlockRule::ScribbleWins => {
            let scribbled = scribbled_blocks(scribble, b, h, w, delta);
            scribbled.into_iter().zip(blocks).map(|(s, block)| if s == IGNORE { block } else { s }).collect()
        }
    }
}

/// Ignores groups of `group` vectors that have fewer than `least` vectors of a class. Reports whether any group remains.
fn drop_small_groups(labels: &mut [u8], group: usize, least: usize) -> bool {
    let mut any = false;
    for labels in labels.chunks_mut(group) {
        let mut counts = [0; 2];
        labels.iter().filter(|label| **label < 2).for_each(|label| counts[usize::from(*label)] += 1);
        if counts[0].min(counts[1]) < least {
            labels.fill(IGNORE);
        } else {
            any = true;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_with_too_few_vectors_of_a_class_loses_its_labels() {
        let labels = [0, 0, 1, 1, IGNORE, 0, 0, 0, 1, IGNORE];
        let left = |group, least| {
            let mut labels = labels;
            let any = drop_small_groups(&mut labels, group, least);
            (any, labels.iter().filter(|label| **label != IGNORE).count())
        };
        assert_eq!(left(10, 2), (true, 8));
        assert_eq!(left(10, 3), (true, 8));
        assert_eq!(left(10, 4), (false, 0));
        assert_eq!(left(5, 2), (true, 4));
        assert_eq!(left(5, 3), (false, 0));
    }
}

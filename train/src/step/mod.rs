//! Optimiser step: forward pass, losses, backward pass, update.
//!
//! Stage 1 (warm-up) minimises `L_sp`, the cross-entropy on scribbles; stage 2 minimises `L = L_sp + pseudo_weight L_up + sum over terms
//! (weight * contrast)` (Oh, Lee and Jeong, ISBI 2022, equation 5).

mod contrast;
mod data_parallel;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use models::unet::{projection, unet};
use models::weights::Weights;
use support::Result;

use self::data_parallel::average_gradients;
use crate::config::{ContrastTerm, RunConfig};
use crate::loss::{LossValue, cross_entropies};
use crate::network::kernels::Kernels;
use crate::network::{Gradients, Mode, Network, initial_weights};
use crate::optimizer::{ParameterGradient, RAdam, Rate};
use crate::parallel::{Communicator, SingleRank};
use crate::pseudo_labels::PseudoLabels;
use crate::rng::CounterRng;
use crate::weight_average::WeightAverage;

/// Mini-batch of crops.
pub struct Batch {
    /// Images, `B 3 H W`, normalised by mean and standard deviation.
    pub image: Tensor,
    /// Scribble labels, `B H W`: 0 background, 1 nucleus, or [`IGNORE`](crate::loss::IGNORE).
    pub scribble: Vec<u8>,
    /// Exponential moving averages of the predictions, `B H W`, with the geometric augmentation of the image.
    pub average: Vec<f32>,
    /// Number of updates of the averages.
    pub updates: u32,
}

/// Contrastive term with its projection head.
pub struct Head {
    /// Configuration of the term.
    pub term: ContrastTerm,
    /// Projection from the feature tap, `B C H W`, to `B outputs H W`.
    pub network: Network,
}

/// State of training: everything that a step changes.
pub struct Trainer {
    /// Segmentation network.
    pub network: Network,
    /// Projection heads, which exist during training only.
    pub heads: Vec<Head>,
    /// Optimiser state of the network and of the heads.
    pub optimizer: RAdam,
    /// Averaged weights, if the configuration enables them.
    pub average: Option<WeightAverage>,
    pub(crate) config: RunConfig,
    pub(crate) communicator: Arc<dyn Communicator>,
}

/// Loss values of one step, averaged over the ranks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Losses {
    /// Cross-entropy on scribbles, `L_sp`.
    pub scribble: f64,
    /// Cross-entropy on pseudo-labels, `L_up`, without its weight; 0 during warm-up.
    pub pseudo: f64,
    /// Contrastive terms by head, without their weights.
    pub contrast: Vec<(String, f64)>,
    /// Weighted sum that the step minimises.
    pub total: f64,
}

/// Stage of training, which selects the active losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Cross-entropy on scribbles only.
    WarmUp,
    /// All terms of the loss.
    Full,
}

impl Trainer {
    /// Creates a trainer with random weights, replaced by arrays of `given` where name and shape match. Returns the trainer and the number
    /// of arrays used.
    pub fn new(config: &RunConfig, given: &Weights, kernels: &Arc<dyn Kernels>) -> Result<(Self, usize)> {
        let mut used = 0;
        let mut build = |graph: models::graph::Graph| -> Result<Network> {
            let mut weights = initial_weights(&graph, config.run.seed);
            for (name, array) in &mut weights {
                if let Some(from) = given.get(name).filter(|from| from.shape == array.shape) {
                    array.clone_from(from);
                    used += 1;
                }
            }
            Network::new(graph, &weights, kernels.clone())
        };
        let network = build(unet(&config.network))?;
        let mut heads = Vec::new();
        for term in config.method.active_terms() {
            let inputs = network.feature_tap_channels(&term.tap)?;
            heads.push(Head { term: term.clone(), network: build(projection(&term.head, inputs, term.hidden, term.outputs))? });
        }
        let keep = config.optimizer.weight_average;
        let average = if keep > 0.0 { Some(WeightAverage::new(&network, keep)?) } else { None };
        let communicator = Arc::new(SingleRank);
        Ok((Self { network, heads, optimizer: RAdam::default(), average, config: config.clone(), communicator }, used))
    }

    /// Returns the network for validation, pseudo-labels and export: the averaged one if there is one.
    pub fn evaluated(&self) -> &Network {
        self.average.as_ref().map_or(&self.network, |average| &average.network)
    }

    /// Returns the pseudo-label rule of the configuration.
    pub fn pseudo_labels(&self) -> PseudoLabels {
        PseudoLabels::of(&self.config.method)
    }

    /// Takes one step at `factor` times the configured learning rates.
    pub fn step(&mut self, batch: &Batch, stage: Stage, factor: f64, rng: &mut CounterRng) -> Result<Losses> {
        let mut tape = self.network.forward(&batch.image, Mode::Train)?;
        let logits = self.network.output(&tape)?;
        let full = stage == Stage::Full && self.config.method.uses_pseudo_labels();
        let pseudo = full.then(|| self.pseudo_labels().labels(&batch.average, &batch.scribble, batch.updates));
        let mut planes = vec![(batch.scribble.as_slice(), 1.0)];
        planes.extend(pseudo.as_deref().map(|labels| (labels, self.config.method.pseudo_weight)));
        let (classification, dlogits) = cross_entropies(&**self.network.kernels(), &logits, &planes)?;
        let (mut contrasts, mut tap_gradients) = (Vec::new(), Vec::new());
        for i in 0..if full { self.heads.len() } else { 0 } {
            let tap = self.network.feature_tap(&tape, &self.heads[i].term.tap)?;
            let (value, tap_gradient) = self.contrast(i, &tap, &batch.scribble, pseudo.as_deref().unwrap_or(&[]), factor, rng)?;
            contrasts.push(value);
            tap_gradients.push((self.heads[i].term.tap.clone(), tap_gradient));
        }
        let tap_gradients: Vec<(&str, Tensor)> = tap_gradients.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let gradients = self.network.backward_and_release(&mut tape, Some(&dlogits), &tap_gradients, false)?;
        average_gradients(&*self.communicator, &gradients, &tape)?;
        update(&mut self.network, &mut self.optimizer, &gradients, &self.config, factor)?;
        self.network.update_running_statistics(&tape, 0.1)?;
        if let Some(average) = &mut self.average {
            average.update(&self.network)?;
        }
        // The losses are read last, because reading waits for the device, which by now has all work of the step queued.
        self.read_losses(&classification, &contrasts)?.mean_over(&*self.communicator)
    }

    /// Reads the values of all terms and sums them with their weights.
    fn read_losses(&self, classification: &[LossValue], contrasts: &[LossValue]) -> Result<Losses> {
        let scribble = classification[0].read()?;
        let mut losses = Losses { scribble, total: scribble, ..Losses::default() };
        if let Some(pseudo) = classification.get(1) {
            losses.pseudo = pseudo.read()?;
            losses.total += self.config.method.pseudo_weight * losses.pseudo;
        }
        for (head, value) in self.heads.iter().zip(contrasts) {
            let value = value.read()?;
            losses.total += head.term.weight * value;
            losses.contrast.push((head.term.head.clone(), value));
        }
        Ok(losses)
    }

    /// Recomputes the batch-normalisation statistics of [`Trainer::evaluated`] as plain averages over these batches; weights do not change.
    ///
    /// At a high learning rate the running averages lag behind the weights, so that evaluation with them can be far off although the
    /// training loss is low. The result depends on weights and batches alone, not on the previous statistics.
    pub fn recalibrate(&mut self, batches: impl IntoIterator<Item = Result<Tensor>>) -> Result<()> {
        let network = self.average.as_mut().map_or(&mut self.network, |average| &mut average.network);
        for (k, image) in batches.into_iter().enumerate() {
            let tape = network.forward(&image?, Mode::Train)?;
            network.update_running_statistics(&tape, 1.0 / (k as f64 + 1.0))?;
        }
        Ok(())
    }
}

/// Applies the optimiser to every parameter that has a gradient.
fn update(network: &mut Network, optimizer: &mut RAdam, gradients: &Gradients, config: &RunConfig, factor: f64) -> Result<()> {
    if let Some(fused) = network.kernels().fused() {
        let mut parts = Vec::with_capacity(gradients.parameters.len());
        for (name, gradient) in &gradients.parameters {
            let (lr, decay) = config.optimizer.rate(name, factor);
            let parameter = &network.parameters()[name];
            parts.push(ParameterGradient { name, parameter, gradient, count: network.count(name), rate: Rate { lr, decay } });
        }
        return Ok(optimizer.step_fused(fused, &parts)?);
    }
    for (name, gradient) in &gradients.parameters {
        let (lr, decay) = config.optimizer.rate(name, factor);
        let rate = Rate { lr, decay };
        let value = optimizer.step(name, &network.parameters()[name], gradient, rate)?;
        network.set(name, value);
    }
    Ok(())
}

/// Stacks crops of `crop` x `crop` pixels to one tensor `B 3 H W` in host memory; the kernels upload it.
pub fn stack_images(images: &[Vec<f32>], crop: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(images.concat(), (images.len(), 3, crop, crop), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;
    use crate::loss::IGNORE;

    #[test]
    fn heads_take_their_first_step_with_their_first_term() {
        let mut config = Profile::Scratch.config();
        config.method.name = crate::config::Method::Both;
        config.network.encoder_width = 4;
        config.network.decoder_channels = [8; 5];
        let kernels: Arc<dyn Kernels> = Arc::new(crate::network::kernels::Cpu::default());
        let (mut trainer, _) = Trainer::new(&config, &Weights::new(), &kernels).unwrap();
        let batch = |nuclei: usize| {
            let image = Tensor::from_vec((0..3 * 32 * 32).map(|i| (i as f32).sin()).collect(), (1, 3, 32, 32), &Device::Cpu).unwrap();
            let scribble = (0..32 * 32)
                .map(|i| {
                    if i < nuclei {
                        1
                    } else if i >= 512 {
                        0
                    } else {
                        IGNORE
                    }
                })
                .collect();
            // After one update with alpha = .2 the corrected average is .5, so no pixel gets a pseudo-label.
            Batch { image, scribble, average: vec![0.1; 32 * 32], updates: 1 }
        };
        let mut rng = CounterRng::new(0, "test", 0, 0, 0);
        let stepped =
            |trainer: &Trainer, head: &str| trainer.optimizer.slots.get(&format!("projection.{head}.0.weight")).map(|slot| slot.steps);
        trainer.step(&batch(1), Stage::Full, 1.0, &mut rng).unwrap();
        assert_eq!((stepped(&trainer, "r1"), stepped(&trainer, "r4")), (None, None));
        trainer.step(&batch(40), Stage::Full, 1.0, &mut rng).unwrap();
        assert_eq!((stepped(&trainer, "r1"), stepped(&trainer, "r4")), (Some(1), None));
    }
}

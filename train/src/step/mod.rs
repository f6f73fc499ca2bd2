//! One optimiser step: forward, losses, backward, update.
//!
//! Stage 1 (warm-up) minimises the cross-entropy on scribbles; stage 2
//! `L = L_sp + pseudo_weight L_up + sum over terms (weight * contrast)` (ISBI 2022, eq. 5).

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

/// Crops that are trained on together.
pub struct Batch {
    /// `B 3 H W`, normalised.
    pub image: Tensor,
    /// `B H W`: 0, 1, or [`IGNORE`](crate::loss::IGNORE).
    pub scribble: Vec<u8>,
    /// `B H W`: the averaged predictions, cut and turned like the image.
    pub average: Vec<f32>,
    /// Updates that the averages have had.
    pub updates: u32,
}

/// A contrastive term with its projection head.
pub struct Head {
    /// What it compares.
    pub term: ContrastTerm,
    /// The projection, `B C H W` of the tap to `B outputs H W`.
    pub network: Network,
}

/// Everything that a step changes.
pub struct Trainer {
    /// The segmentation network.
    pub network: Network,
    /// Projection heads; they end with training.
    pub heads: Vec<Head>,
    /// State of the optimiser, for all of them.
    pub optimizer: RAdam,
    /// Averaged weights, where the configuration asks for them.
    pub average: Option<WeightAverage>,
    pub(crate) config: RunConfig,
    pub(crate) communicator: Arc<dyn Communicator>,
}

/// Values of the terms of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Losses {
    /// Cross-entropy on scribbles.
    pub scribble: f64,
    /// Cross-entropy on pseudo-labels.
    pub pseudo: f64,
    /// Contrastive terms, by head, without their weights.
    pub contrast: Vec<(String, f64)>,
    /// What was minimised.
    pub total: f64,
}

/// Which losses are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Scribbles only.
    WarmUp,
    /// All terms.
    Full,
}

impl Trainer {
    /// A trainer with random weights, overlaid by `given` where names fit; returns how many arrays of `given` were used.
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

    /// The network that is evaluated, predicts pseudo-labels and becomes the model: with averaged weights where there are any.
    pub fn evaluated(&self) -> &Network {
        self.average.as_ref().map_or(&self.network, |average| &average.network)
    }

    /// The rule for pseudo-labels that the configuration asks for.
    pub fn pseudo_labels(&self) -> PseudoLabels {
        PseudoLabels::of(&self.config.method)
    }

    /// One step at `factor` times the learning rates.
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
        // Read last: by now the device has all of the step's work before it.
        self.read_losses(&classification, &contrasts)?.mean_over(&*self.communicator)
    }

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

    /// Measures the statistics of batch normalisation of [`Trainer::evaluated`] anew, as plain averages over these batches; no
    /// weight changes.
    ///
    /// At a high learning rate the running averages lag behind the weights, and evaluation with them can be far off while
    /// training looks fine. The result depends on weights and batches alone, not on the statistics before.
    pub fn recalibrate(&mut self, batches: impl IntoIterator<Item = Result<Tensor>>) -> Result<()> {
        let network = self.average.as_mut().map_or(&mut self.network, |average| &mut average.network);
        for (k, image) in batches.into_iter().enumerate() {
            let tape = network.forward(&image?, Mode::Train)?;
            network.update_running_statistics(&tape, 1.0 / (k as f64 + 1.0))?;
        }
        Ok(())
    }
}

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

/// Crops as one tensor `B 3 H W`, in memory; the kernels bring it to their device.
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
            // After one update with alpha = .2 this is judged as .5: nothing is trusted.
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

//! How good the network is on images that it is not trained on.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};
use models::Result;

use crate::config::{RunConfig, Validation, Views};
use crate::data::Sample;
use crate::evaluate::views::averaged_probabilities;
use crate::loss::cross_entropy;
use crate::metrics::Pixels;
use crate::network::Network;

/// What came of scoring the validation images.
pub enum Scored {
    /// The mean over the images that can be scored.
    Mean(f64),
    /// None can be.
    Nothing,
    /// A stop was asked for before the end.
    Stopped,
}

/// The mean score of some samples, higher is better: semantic `IoU` on masks, or minus the cross-entropy on scribbles.
pub fn score(network: &Network, samples: &[&Sample], config: &RunConfig, stop: &AtomicBool) -> Result<Scored> {
    let views = config.evaluation.views;
    let mut scores = Vec::new();
    for sample in samples {
        if stop.load(Ordering::Relaxed) {
            return Ok(Scored::Stopped);
        }
        scores.extend(match config.data.validation {
            Validation::None => None,
            Validation::Masks => mask_score(network, sample, views)?,
            Validation::Scribbles => Some(scribble_score(network, sample, views)?),
        });
    }
    Ok(if scores.is_empty() { Scored::Nothing } else { Scored::Mean(scores.iter().sum::<f64>() / scores.len() as f64) })
}

/// What the score is called and what it is measured on.
pub fn describe(validation: Validation) -> (&'static str, &'static str) {
    match validation {
        Validation::Masks => ("iou", "full masks"),
        Validation::Scribbles => ("minus_scribble_cross_entropy", "held-out scribbles"),
        Validation::None => ("none", "nothing"),
    }
}

fn mask_score(network: &Network, sample: &Sample, views: Views) -> Result<Option<f64>> {
    let Some(labels) = &sample.labels else { return Ok(None) };
    let mask = averaged_probabilities(network, &sample.image, views)?.map(|&p| p > 0.5);
    Ok(Some(Pixels::of(labels.data.iter().map(|&id| id > 0), mask.data.iter().copied()).iou()))
}

fn scribble_score(network: &Network, sample: &Sample, views: Views) -> Result<f64> {
    let p = averaged_probabilities(network, &sample.image, views)?;
    let logit = |p: f32| f64::from(p).clamp(1e-7, 1.0 - 1e-7);
    let margins: Vec<f32> = p.data.iter().map(|&p| (logit(p) / (1.0 - logit(p))).ln() as f32).collect();
    let margins = Tensor::from_vec(margins, (1, 1, p.height, p.width), &Device::Cpu)?;
    let logits = Tensor::cat(&[&margins.zeros_like()?, &margins], 1)?;
    let labels = Tensor::from_slice(&sample.scribble.data, (1, p.height, p.width), &Device::Cpu)?;
    Ok(-cross_entropy(&logits, &labels)?.value)
}

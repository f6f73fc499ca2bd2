//! How good the network is on images that it is not trained on.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};
use models::Result;
use serde::{Deserialize, Serialize};

use super::calibration::{Predicted, best_min_area, best_threshold};
use crate::config::{EvaluationConfig, RunConfig, Validation, Views};
use crate::data::Sample;
use crate::evaluate::quantised;
use crate::evaluate::views::{averaged_probabilities, averaged_unless};
use crate::loss::cross_entropy;
use crate::network::Network;

/// What came of scoring the validation images.
pub enum Scored {
    /// The mean over the images that can be scored, and the decoding that goes with it.
    Mean(f64, Fitted),
    /// None can be.
    Nothing,
    /// A stop was asked for before the end.
    Stopped,
}

/// What `evaluation.calibrate` may change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// A pixel belongs to a nucleus above this.
    pub threshold: f64,
    /// Smaller components are dropped.
    pub min_area_px: usize,
}

impl Fitted {
    /// The configuration with these values.
    pub fn put_into(self, config: &RunConfig) -> RunConfig {
        let mut config = config.clone();
        (config.evaluation.threshold, config.evaluation.min_area_px) = (self.threshold, self.min_area_px);
        config
    }
}

/// The mean score of some samples, higher is better: semantic `IoU` on masks (with `evaluation.calibrate` at the best threshold), or
/// minus the cross-entropy on scribbles.
pub fn score(network: &Network, samples: &[&Sample], config: &RunConfig, stop: &AtomicBool) -> Result<Scored> {
    let EvaluationConfig { views, threshold, min_area_px, calibrate, .. } = config.evaluation;
    let (mut scores, mut predicted) = (Vec::new(), Vec::new());
    for sample in samples {
        if stop.load(Ordering::Relaxed) {
            return Ok(Scored::Stopped);
        }
        match config.data.validation {
            Validation::Masks if sample.labels.is_some() => {
                let Some(p) = averaged_unless(network, &sample.image, views, stop)? else { return Ok(Scored::Stopped) };
                predicted.push(Predicted { sample, probability: quantised(&p) });
            }
            Validation::Scribbles => scores.push(scribble_score(network, sample, views)?),
            Validation::Masks | Validation::None => {}
        }
    }
    if let Some((threshold, iou)) = best_threshold(&predicted, threshold, calibrate) {
        let fitted = Fitted { threshold, min_area_px };
        let decoding = fitted.put_into(config).evaluation.decoding();
        let min_area_px = if calibrate { best_min_area(&predicted, &decoding) } else { min_area_px };
        return Ok(Scored::Mean(iou, Fitted { min_area_px, ..fitted }));
    }
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    Ok(if scores.is_empty() { Scored::Nothing } else { Scored::Mean(mean, Fitted { threshold, min_area_px }) })
}

/// What the score is called and what it is measured on.
pub fn describe(validation: Validation) -> (&'static str, &'static str) {
    match validation {
        Validation::Masks => ("iou", "full masks"),
        Validation::Scribbles => ("minus_scribble_cross_entropy", "held-out scribbles"),
        Validation::None => ("none", "nothing"),
    }
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

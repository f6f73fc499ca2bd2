//! How good the network is on images that it is not trained on, and the decoding that goes with it.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};
use models::decode::Decoding;
use models::plane::Plane;
use serde::{Deserialize, Serialize};
use support::Result;

use super::calibration::{Predicted, best_min_area, best_threshold};
use super::least_area::least_area;
use crate::alignment::{self, Density, Flux};
use crate::config::{EvaluationConfig, RunConfig, Validation};
use crate::data::Sample;
use crate::evaluate::quantised;
use crate::evaluate::views::{Prediction, predict_unless};
use crate::loss::cross_entropy;
use crate::network::Network;

/// Images whose edges a threshold is fitted to, if there are that many.
const EDGE_IMAGES: usize = 8;

/// What came of scoring the validation images.
pub enum Scored {
    /// The mean over the images that can be scored, if any can, and the decoding that goes with it.
    Done(Option<f64>, Fitted),
    /// A stop was asked for before the end.
    Stopped,
}

/// A threshold and a least area.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// A pixel belongs to a nucleus above this.
    pub threshold: f64,
    /// Smaller components are dropped.
    pub min_area_px: usize,
}

/// What `evaluation.calibrate` may change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// For the mean over `evaluation.views`: what scores are made with.
    #[serde(flatten)]
    pub mean: Level,
    /// For the image as it is: what slides are decoded with.
    pub one: Option<Level>,
}

impl Fitted {
    /// The configuration with these values.
    pub fn put_into(self, config: &RunConfig) -> RunConfig {
        let mut config = config.clone();
        (config.evaluation.threshold, config.evaluation.min_area_px) = (self.mean.threshold, self.mean.min_area_px);
        config
    }

    /// How slides are decoded.
    pub fn on_slides(self, config: &RunConfig) -> Decoding {
        let Level { threshold, min_area_px } = self.one.unwrap_or(self.mean);
        Decoding { threshold, min_area_px, ..config.evaluation.decoding() }
    }
}

/// Which probabilities of an image.
#[derive(Clone, Copy)]
enum Of {
    One,
    Mean,
}

/// Probabilities of an image, as the exported graph returns them.
struct Seen<'a> {
    sample: &'a Sample,
    one: Plane<u8>,
    mean: Plane<u8>,
}

impl<'a> Seen<'a> {
    fn new(sample: &'a Sample, prediction: &Prediction) -> Self {
        Self { sample, one: quantised(&prediction.one), mean: quantised(&prediction.mean) }
    }

    fn levels(&self, of: Of) -> &Plane<u8> {
        match of {
            Of::One => &self.one,
            Of::Mean => &self.mean,
        }
    }
}

/// The mean score of some samples, higher is better: semantic `IoU` on masks (with `evaluation.calibrate` at the best threshold), or
/// minus the cross-entropy on scribbles; and the decoding. Without masks the threshold is fitted to edges of these images and the
/// least area to their strokes, and to those of `others` where they are few.
pub fn score(network: &Network, samples: &[&Sample], others: &[&Sample], config: &RunConfig, stop: &AtomicBool) -> Result<Scored> {
    let EvaluationConfig { views, threshold, min_area_px, calibrate, .. } = config.evaluation;
    let (mut scores, mut masked, mut unmasked) = (Vec::new(), Vec::new(), Vec::new());
    let few = EDGE_IMAGES.saturating_sub(samples.len());
    for (i, sample) in samples.iter().chain(others.iter().take(few)).enumerate() {
        let is_scored = i < samples.len() && config.data.validation != Validation::None;
        let has_mask = is_scored && config.data.validation == Validation::Masks && sample.labels.is_some();
        let scores_strokes = is_scored && config.data.validation == Validation::Scribbles;
        if !has_mask && !scores_strokes && (!calibrate || !masked.is_empty()) {
            continue;
        }
        let prediction = if stop.load(Ordering::Relaxed) { None } else { predict_unless(network, &sample.image, views, stop)? };
        let Some(prediction) = prediction else { return Ok(Scored::Stopped) };
        if scores_strokes {
            scores.push(scribble_score(&prediction.mean, sample)?);
        }
        let seen = Seen::new(sample, &prediction);
        if has_mask { masked.push(seen) } else { unmasked.push(seen) }
    }
    let now = Level { threshold, min_area_px };
    if let Some((iou, mean)) = fitted_to_masks(&masked, config, Of::Mean) {
        let one = fitted_to_masks(&masked, config, Of::One);
        return Ok(Scored::Done(Some(iou), Fitted { mean, one: one.map(|(_, level)| level) }));
    }
    let mean = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
    let fitted = if calibrate { fitted_without_masks(&unmasked, now) } else { Fitted { mean: now, one: None } };
    Ok(Scored::Done(mean, fitted))
}

/// The `IoU` on masks, and the level that it was reached with; none without masks.
fn fitted_to_masks(seen: &[Seen], config: &RunConfig, of: Of) -> Option<(f64, Level)> {
    let EvaluationConfig { threshold, min_area_px, calibrate, .. } = config.evaluation;
    let predicted: Vec<Predicted> =
        seen.iter().map(|seen| Predicted { sample: seen.sample, probability: seen.levels(of).clone() }).collect();
    let (threshold, iou) = best_threshold(&predicted, threshold, calibrate)?;
    let decoding = Decoding { threshold, ..config.evaluation.decoding() };
    let min_area_px = if calibrate { best_min_area(&predicted, &decoding) } else { min_area_px };
    Some((iou, Level { threshold, min_area_px }))
}

/// Thresholds whose contours lie on edges, and least areas that strokes tell; `now` where they say nothing clear.
fn fitted_without_masks(seen: &[Seen], now: Level) -> Fitted {
    let densities: Vec<Density> = seen.iter().map(|seen| Density::of(&seen.sample.image)).collect();
    let fitted = |of| {
        let flux: Vec<Flux> = seen.iter().zip(&densities).map(|(seen, density)| Flux::of(seen.levels(of), density)).collect();
        let threshold = alignment::clearly_better_threshold(&flux, now.threshold).unwrap_or(now.threshold);
        let level = Decoding { threshold, ..Decoding::default() }.first_foreground_level();
        let strokes = seen.iter().map(|seen| (seen.levels(of), &seen.sample.scribble));
        Level { threshold, min_area_px: least_area(strokes, level, now.min_area_px) }
    };
    Fitted { mean: fitted(Of::Mean), one: Some(fitted(Of::One)) }
}

/// What the score is called and what it is measured on.
pub fn describe(validation: Validation) -> (&'static str, &'static str) {
    match validation {
        Validation::Masks => ("iou", "full masks"),
        Validation::Scribbles => ("minus_scribble_cross_entropy", "held-out scribbles"),
        Validation::None => ("none", "nothing"),
    }
}

fn scribble_score(p: &Plane<f32>, sample: &Sample) -> Result<f64> {
    let logit = |p: f32| f64::from(p).clamp(1e-7, 1.0 - 1e-7);
    let margins: Vec<f32> = p.data.iter().map(|&p| (logit(p) / (1.0 - logit(p))).ln() as f32).collect();
    let margins = Tensor::from_vec(margins, (1, 1, p.height, p.width), &Device::Cpu)?;
    let logits = Tensor::cat(&[&margins.zeros_like()?, &margins], 1)?;
    let labels = Tensor::from_slice(&sample.scribble.data, (1, p.height, p.width), &Device::Cpu)?;
    Ok(-cross_entropy(&logits, &labels)?.value)
}

//! Validation: the score on held-out images, and the decoding fitted to them.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};
use models::decode::Decoding;
use models::plane::Plane;
use support::Result;

use super::calibration::{Predicted, best_min_area, best_threshold};
use super::min_area::min_area_from_strokes;
use crate::alignment::{self, Density, Flux};
use crate::config::{EvaluationConfig, RunConfig, Validation};
use crate::data::Sample;
use crate::fitted_decoding::{FittedDecoding, Level};
use crate::loss::cross_entropy;
use crate::network::Network;
use crate::predict::views::{Prediction, predict_unless};
use crate::predict::{Predictor, quantised};

/// Number of images to whose edges the threshold is fitted, if there are as many.
const EDGE_IMAGES: usize = 8;

/// Result of scoring the validation images.
pub enum Scored {
    /// Mean score over the images that can be scored, `None` if there are none, and the fitted decoding.
    Done(Option<f64>, FittedDecoding),
    /// The stop flag became true before the end.
    Stopped,
}

/// Views that a prediction comes from.
#[derive(Clone, Copy)]
enum Source {
    /// The image as it is.
    Single,
    /// Mean over `evaluation.views`.
    Mean,
}

/// Predictions of a sample, quantised as by the exported graph.
struct Quantised<'a> {
    sample: &'a Sample,
    single: Plane<u8>,
    mean: Plane<u8>,
}

impl<'a> Quantised<'a> {
    fn new(sample: &'a Sample, prediction: &Prediction) -> Self {
        Self { sample, single: quantised(&prediction.single), mean: quantised(&prediction.mean) }
    }

    fn levels(&self, source: Source) -> &Plane<u8> {
        match source {
            Source::Single => &self.single,
            Source::Mean => &self.mean,
        }
    }
}

/// Computes the mean score of `samples`, higher is better, and fits the decoding. The score is the semantic `IoU` on masks (with
/// `evaluation.calibrate` at the best threshold), or minus the cross-entropy on scribbles. Without masks the threshold is fitted to image
/// edges and the least area to strokes, of `samples` and, if these are fewer than [`EDGE_IMAGES`], of `others`.
pub fn score(network: &Network, samples: &[&Sample], others: &[&Sample], config: &RunConfig, stop: &AtomicBool) -> Result<Scored> {
    let EvaluationConfig { views, threshold, min_area_px, calibrate, .. } = config.evaluation;
    let (mut scores, mut with_masks, mut without_masks) = (Vec::new(), Vec::new(), Vec::new());
    let mut predictor = Predictor::new(network)?;
    let missing = EDGE_IMAGES.saturating_sub(samples.len());
    for (i, sample) in samples.iter().chain(others.iter().take(missing)).enumerate() {
        let is_scored = i < samples.len() && config.data.validation != Validation::None;
        let has_mask = is_scored && config.data.validation == Validation::Masks && sample.labels.is_some();
        let scores_strokes = is_scored && config.data.validation == Validation::Scribbles;
        if !has_mask && !scores_strokes && (!calibrate || !with_masks.is_empty()) {
            continue;
        }
        let prediction = if stop.load(Ordering::Relaxed) { None } else { predict_unless(&mut predictor, &sample.image, views, stop)? };
        let Some(prediction) = prediction else { return Ok(Scored::Stopped) };
        if scores_strokes {
            scores.push(scribble_score(&prediction.mean, sample)?);
        }
        let levels = Quantised::new(sample, &prediction);
        if has_mask { with_masks.push(levels) } else { without_masks.push(levels) }
    }
    let configured = Level { threshold, min_area_px };
    if let Some((iou, mean)) = fit_to_masks(&with_masks, config, Source::Mean) {
        let single = fit_to_masks(&with_masks, config, Source::Single);
        return Ok(Scored::Done(Some(iou), FittedDecoding { mean, single: single.map(|(_, level)| level) }));
    }
    let score = (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64);
    let fitted = if calibrate { fit_without_masks(&without_masks, configured) } else { FittedDecoding { mean: configured, single: None } };
    Ok(Scored::Done(score, fitted))
}

/// Fits threshold and least area to masks; returns the mean `IoU` at that threshold and the fitted values, `None` without images.
fn fit_to_masks(images: &[Quantised], config: &RunConfig, source: Source) -> Option<(f64, Level)> {
    let EvaluationConfig { threshold, min_area_px, calibrate, .. } = config.evaluation;
    let predicted: Vec<Predicted> =
        images.iter().map(|image| Predicted { sample: image.sample, probability: image.levels(source).clone() }).collect();
    let (threshold, iou) = best_threshold(&predicted, threshold, calibrate)?;
    let decoding = Decoding { threshold, ..config.evaluation.decoding() };
    let min_area_px = if calibrate { best_min_area(&predicted, &decoding) } else { min_area_px };
    Some((iou, Level { threshold, min_area_px }))
}

/// Fits the threshold to image edges and the least area to strokes; a value of `configured` is kept unless the evidence is clear.
fn fit_without_masks(images: &[Quantised], configured: Level) -> FittedDecoding {
    let densities: Vec<Density> = images.iter().map(|image| Density::of(&image.sample.image)).collect();
    let fit = |source| {
        let flux: Vec<Flux> = images.iter().zip(&densities).map(|(image, density)| Flux::of(image.levels(source), density)).collect();
        let threshold = alignment::clearly_better_threshold(&flux, configured.threshold).unwrap_or(configured.threshold);
        let level = Decoding { threshold, ..Decoding::default() }.first_foreground_level();
        let strokes = images.iter().map(|image| (image.levels(source), &image.sample.scribble));
        Level { threshold, min_area_px: min_area_from_strokes(strokes, level, configured.min_area_px) }
    };
    FittedDecoding { mean: fit(Source::Mean), single: Some(fit(Source::Single)) }
}

/// Computes minus the cross-entropy of the probabilities `p` on the scribbles of the sample.
fn scribble_score(p: &Plane<f32>, sample: &Sample) -> Result<f64> {
    let clamped = |p: f32| f64::from(p).clamp(1e-7, 1.0 - 1e-7);
    let margins: Vec<f32> = p.data.iter().map(|&p| (clamped(p) / (1.0 - clamped(p))).ln() as f32).collect();
    let margins = Tensor::from_vec(margins, (1, 1, p.height, p.width), &Device::Cpu)?;
    let logits = Tensor::cat(&[&margins.zeros_like()?, &margins], 1)?;
    let labels = Tensor::from_slice(&sample.scribble.data, (1, p.height, p.width), &Device::Cpu)?;
    Ok(-cross_entropy(&logits, &labels)?.value)
}

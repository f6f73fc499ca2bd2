//! How good the network is on images that it is not trained on.

use candle_core::{Device, Tensor};
use models::Result;

use crate::config::Validation;
use crate::data::Sample;
use crate::evaluate::probabilities;
use crate::loss::cross_entropy;
use crate::metrics::Pixels;
use crate::network::Network;

/// The mean score of some samples, higher is better: semantic `IoU` on masks, or minus the cross-entropy on scribbles.
///
/// `None` if nothing can be scored.
pub fn score(network: &Network, samples: &[&Sample], by: Validation) -> Result<Option<f64>> {
    let scores: Vec<f64> = match by {
        Validation::None => Vec::new(),
        Validation::Masks => {
            let scored = samples.iter().filter_map(|sample| sample.labels.as_ref().map(|labels| (sample, labels)));
            let of = |(sample, labels): (&&Sample, &models::plane::Plane<u32>)| -> Result<f64> {
                let mask = probabilities(network, &sample.image)?.map(|&p| p > 0.5);
                Ok(Pixels::of(labels.data.iter().map(|&id| id > 0), mask.data.iter().copied()).iou())
            };
            scored.map(of).collect::<Result<_>>()?
        }
        Validation::Scribbles => samples.iter().map(|sample| scribble_score(network, sample)).collect::<Result<_>>()?,
    };
    Ok((!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64))
}

fn scribble_score(network: &Network, sample: &Sample) -> Result<f64> {
    let p = probabilities(network, &sample.image)?;
    let logit = |p: f32| f64::from(p).clamp(1e-7, 1.0 - 1e-7);
    let margins: Vec<f32> = p.data.iter().map(|&p| (logit(p) / (1.0 - logit(p))).ln() as f32).collect();
    let margins = Tensor::from_vec(margins, (1, 1, p.height, p.width), &Device::Cpu)?;
    let logits = Tensor::cat(&[&margins.zeros_like()?, &margins], 1)?;
    let labels = Tensor::from_slice(&sample.scribble.data, (1, p.height, p.width), &Device::Cpu)?;
    Ok(-cross_entropy(&logits, &labels)?.value)
}

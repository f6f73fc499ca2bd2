//! Estimates of the memory of a run, from the shapes of its network, and of its time, from steps on random images.

use std::time::Instant;

use candle_core::{Device, Tensor};
use models::graph::Parameter;
use models::unet::unet;
use serde::Serialize;
use support::Result;

use super::ImageAudit;
use crate::config::RunConfig;
use crate::data::Split;
use crate::network::{Mode, device};
use crate::rng::CounterRng;
use crate::scribble::UNLABELLED;
use crate::step::{Batch, Stage, Trainer};
use crate::thread_pool::in_pool;

/// Memory of a training run on one device, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// Images, scribbles, labels and pseudo-label maps.
    pub data: u64,
    /// Feature maps of one batch, kept for the backward pass, and their gradients, in f32; an upper bound.
    pub features: u64,
    /// Weights, gradients and the two moments of the optimiser.
    pub weights: u64,
}

impl Memory {
    /// Estimates the memory of a run on these images.
    pub(super) fn of(images: &[ImageAudit], config: &RunConfig) -> Self {
        // 3 bytes of colour, 1 of scribble, 4 of instance labels, 4 of averaged prediction.
        const BYTES_PER_PIXEL: u64 = 12;
        let pixels: u64 = images.iter().map(|image| (image.width * image.height) as u64).sum();
        let graph = unet(&config.network);
        let shapes = graph.shapes(config.run.crop, config.run.crop).unwrap_or_default();
        let features: usize = shapes.iter().map(|f| f.channels * f.height * f.width).sum();
        let weights: usize = graph.parameters().iter().map(Parameter::count).sum();
        Self {
            data: BYTES_PER_PIXEL * pixels,
            features: 2 * 4 * (config.run.batch / config.run.devices * features) as u64,
            weights: 4 * 4 * weights as u64,
        }
    }
}

/// Time of a run on this machine, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Time {
    /// One optimiser step.
    pub step: f64,
    /// All steps, at most `run.minutes`.
    pub training: f64,
    /// Predictions of whole images for validation and pseudo-labels, at most `run.minutes`.
    pub predictions: f64,
}

/// Measures one step with a batch of one (the second of two) and one prediction, and scales both to the run.
pub fn time(images: &[ImageAudit], config: &RunConfig) -> Result<Time> {
    let (step, per_pixel) = in_pool(config.run.threads, || measure(config))?;
    let pixels = |split| images.iter().filter(|image| image.split == split).map(|image| (image.width * image.height) as f64).sum::<f64>();
    let training = images.iter().filter(|image| image.split == Split::Train).count();
    let run = config.clone().in_iterations(training);
    let count_of = |period: u64| if period == 0 { 1.0 } else { run.run.iterations as f64 / period as f64 };
    let updates = if config.method.uses_pseudo_labels() { count_of(run.method.ema_period) } else { 0.0 };
    // BatchNorm statistics are measured before each prediction of the images, by forward passes over training batches.
    let statistics = (config.run.recalibrate_batches * config.run.batch * config.run.crop.pow(2)) as f64;
    let validated = pixels(Split::Val) * config.evaluation.views.count() as f64;
    let predicted_pixels = updates * (pixels(Split::Train) + statistics) + count_of(run.run.validate_every) * (validated + statistics);
    let step = step * (config.run.batch / config.run.devices) as f64;
    let limit = config.run.minutes.map_or(f64::INFINITY, |minutes| 60.0 * minutes);
    Ok(Time { step, training: (step * run.run.iterations as f64).min(limit), predictions: (predicted_pixels * per_pixel).min(limit) })
}

/// Measures the seconds of a step with one image, and of a prediction per pixel.
fn measure(config: &RunConfig) -> Result<(f64, f64)> {
    let (mut trainer, _) = Trainer::new(config, &models::weights::Weights::new(), &device::kernels(&config.run)?)?;
    let crop = config.run.crop;
    let mut draw = CounterRng::new(0, "estimate", 0, 0, 0);
    let noise: Vec<f32> = (0..3 * crop * crop).map(|_| draw.uniform_f32()).collect();
    let image = Tensor::from_vec(noise, (1, 3, crop, crop), &Device::Cpu)?;
    let scribble = (0..crop * crop).map(|i| if i % 7 == 0 { u8::from(i % 2 == 0) } else { UNLABELLED }).collect();
    let average = (0..crop * crop).map(|_| draw.uniform_f32()).collect();
    let batch = Batch { image, scribble, average, updates: 1 };
    let stage = if config.method.uses_pseudo_labels() { Stage::Full } else { Stage::WarmUp };
    let mut seconds = 0.0;
    for _ in 0..2 {
        let start = Instant::now();
        trainer.step(&batch, stage, 1.0, &mut draw)?;
        seconds = start.elapsed().as_secs_f64();
    }
    let start = Instant::now();
    trainer.network.forward(&batch.image, Mode::Eval)?;
    Ok((seconds, start.elapsed().as_secs_f64() / (crop * crop) as f64))
}

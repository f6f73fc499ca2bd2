//! Stages that both parts of the quickstart share: data folder, training, ONNX file, and scores of an image.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use export::about::About;
use infer::model::Model;
use infer::segmenter::{self, Segmenter};
use models::decode::Decoding;
use models::plane::Plane;
use models::weights::WeightsFile;
use support::console::Progress;
use support::{Context, Result, durable};
use train::config::{Profile, RunConfig, Validation, Views};
use train::data::{RgbImage, image_file};
use train::metrics::Scores;
use train::network::{Network, device};
use train::predict::{probabilities, quantised};
use train::step::Trainer;
use train::{fit, initial, pretrained};

use crate::Settings;

/// One of the two parts of the quickstart.
pub struct Part<'a> {
    /// Folder of all files that this part writes.
    pub folder: PathBuf,
    /// Options of the command line.
    pub settings: &'a Settings,
    /// Receiver of progress reports.
    pub progress: &'a dyn Progress,
}

/// Results of one part, for the table at the end.
pub struct Figures {
    /// Title of the column.
    pub title: &'static str,
    /// Fraction of training pixels that carry a stroke, 0 to 1.
    pub labelled_fraction: f64,
    /// Number of optimiser steps.
    pub iterations: u64,
    /// Duration of training in seconds.
    pub training_secs: f64,
    /// Scores of the untrained network on the held-out image.
    pub before: Scores,
    /// Scores of the trained network on the held-out image.
    pub after: Scores,
    /// Measured halo and exact halo, in pixels.
    pub halo_px: (usize, usize),
    /// Largest difference between a probability computed by candle and by ONNX Runtime.
    pub max_difference: f64,
    /// Number of nuclei of the whole slide, and duration of its segmentation in seconds.
    pub whole_slide: Option<(u64, f64)>,
    /// Duration of the whole part in seconds.
    pub total_secs: f64,
}

/// A trained network and its files.
pub struct Trained {
    /// Network after training.
    pub network: Network,
    /// Network before training: encoder weights of ImageNet, all others random.
    pub untrained: Network,
    /// Fitted rule that turns probabilities into nuclei.
    pub decoding: Decoding,
    /// Number of optimiser steps.
    pub iterations: u64,
    /// Duration of training in seconds.
    pub secs: f64,
}

impl Part<'_> {
    /// Returns the data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Returns the path of the ONNX file.
    pub fn model(&self) -> PathBuf {
        self.folder.join("nuclei.onnx")
    }

    /// Writes the held-out image and its nuclei as a separate data folder, on which `train evaluate` and `train compare` compute scores.
    pub fn write_scored(&self, id: &str, image: &RgbImage, truth: &Plane<u32>) -> Result<()> {
        let scored = self.folder.join("scored");
        durable::write(&scored.join(format!("images/{id}.png")), &image_file::png_of_rgb(image)?)?;
        durable::write(&scored.join(format!("labels/{id}.png")), &image_file::png_of_labels(truth)?)
    }

    /// Trains on the data folder for the duration of `--minutes`.
    pub fn train(&self, microns_per_pixel: Option<f64>) -> Result<Trained> {
        let config = self.config(microns_per_pixel);
        let run = self.folder.join("run");
        if run.exists() {
            // The run is left from an earlier quickstart; training never overwrites an existing run.
            std::fs::remove_dir_all(&run).doing(|| format!("removing {}", run.display()))?;
        }
        let encoder = pretrained::file_of(config.run.init.as_deref().expect("the profile names it"), config.network.encoder)?;
        let outcome = fit::fit(&config, &run, false, self.progress, &AtomicBool::new(false))?;
        let kernels = device::kernels(config.run.device)?;
        let start = initial::with_encoder_prefix(WeightsFile::read(&encoder)?.arrays);
        let untrained = Trainer::new(&config, &start, &kernels)?.0.network;
        let (network, fitted) = train::checkpoint::network(&run.join("best.safetensors"), &kernels)?;
        Ok(Trained { network, untrained, decoding: fitted.evaluation.decoding(), iterations: outcome.iterations, secs: outcome.seconds })
    }

    /// Returns the default profile adapted to a few minutes: small crops, a shorter warm-up, no validation.
    fn config(&self, microns_per_pixel: Option<f64>) -> RunConfig {
        let mut config = Profile::Default.config();
        config.data.folder = self.data();
        config.data.microns_per_pixel = microns_per_pixel;
        config.data.validation = Validation::None;
        config.method.warmup_iterations = 300;
        config.method.ema_period = 40;
        config.evaluation.views = Views::One;
        config.run.crop = 128;
        config.run.batch = 8;
        config.run.recalibrate_batches = 6;
        config.run.minutes = Some(self.settings.minutes);
        config.run.seed = self.settings.seed;
        config.run.validate_every = 0;
        config.run.overlays = 0;
        config
    }

    /// Writes the ONNX file and measures the halo on the training images; returns the measured and the exact halo in pixels.
    pub fn export(&self) -> Result<(usize, usize)> {
        let about = About { name: Some("quickstart".into()), ..About::default() };
        let options = export::Options { about, tiles: vec![self.data()], ..export::Options::default() };
        let summary = export::onnx(&self.folder.join("run/best.safetensors"), &self.model(), &options, self.progress)?;
        println!("  {} ({:.1} MB)", self.model().display(), summary.bytes as f64 / 1e6);
        Ok((summary.card.default_halo_px(), summary.card.reach_px))
    }

    /// Returns the largest difference between a probability of the network in candle and of its ONNX file. The sides of the image must be
    /// multiples of the stride.
    pub fn largest_difference(&self, network: &Network, image: &RgbImage) -> Result<f64> {
        let model = Model::open(&self.model())?;
        let mut segmenter = Segmenter::new(&model, &segmenter::Options::default())?;
        let in_candle = probabilities(network, image)?;
        let in_runtime = segmenter.probabilities(&image.data, 1, image.height, image.width)?;
        Ok(in_candle.data.iter().zip(in_runtime).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max))
    }
}

/// Computes the foreground mask of an image.
pub fn mask(network: &Network, image: &RgbImage, decoding: &Decoding) -> Result<Plane<bool>> {
    let level = decoding.first_foreground_level();
    Ok(quantised(&probabilities(network, image)?).map(|&p| p >= level))
}

/// Scores a network on an image with instance labels.
pub fn score(network: &Network, image: &RgbImage, truth: &Plane<u32>, decoding: &Decoding) -> Result<Scores> {
    Ok(Scores::of_mask(truth, &mask(network, image, decoding)?, decoding, None))
}

/// Prints the stage that begins now, with the seconds since the start.
pub fn announce(since: Instant, what: &str) {
    println!("[{:5.0} s] {what}", since.elapsed().as_secs_f64());
}

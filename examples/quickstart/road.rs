//! The road that both parts take: data folder, training, ONNX file, and what each stage says of an image.

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
use support::{Context, Result, artifact};
use train::config::{Profile, RunConfig, Validation, Views};
use train::data::{RgbImage, image_file};
use train::metrics::Scores;
use train::network::{Network, device};
use train::predict::{probabilities, quantised};
use train::step::Trainer;
use train::{fit, initial, pretrained};

use crate::Settings;

/// One of the two parts, on its way.
pub struct Part<'a> {
    /// Folder of everything that it writes.
    pub folder: PathBuf,
    /// What the user asked for.
    pub settings: &'a Settings,
    /// Who is told how far it is.
    pub progress: &'a dyn Progress,
}

/// Figures of a part, for the table at the end.
pub struct Figures {
    /// What it was about.
    pub title: &'static str,
    /// Share of training pixels that carry a stroke.
    pub labelled_share: f64,
    /// Optimiser steps.
    pub iterations: u64,
    /// Seconds of training.
    pub training_secs: f64,
    /// Scores of the network before training, on what it was not trained on.
    pub before: Scores,
    /// Scores after training.
    pub after: Scores,
    /// The measured halo in pixels, and the theoretical one.
    pub halo_px: (usize, usize),
    /// The largest difference of a probability between candle and ONNX Runtime.
    pub max_difference: f64,
    /// Nuclei of the whole slide and the seconds that took.
    pub whole_slide: Option<(u64, f64)>,
    /// Seconds in all.
    pub total_secs: f64,
}

/// A trained network and its files.
pub struct Trained {
    /// As it is after training.
    pub network: Network,
    /// The same before training: with the encoder's weights of ImageNet, the rest random.
    pub untrained: Network,
    /// How its probabilities become nuclei.
    pub decoding: Decoding,
    /// Optimiser steps.
    pub iterations: u64,
    /// Seconds.
    pub secs: f64,
}

impl Part<'_> {
    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The ONNX file.
    pub fn model(&self) -> PathBuf {
        self.folder.join("nuclei.onnx")
    }

    /// Writes an image that was not trained on and its nuclei, as a data folder of its own: what `train evaluate` and `compare` score on.
    pub fn write_scored(&self, id: &str, image: &RgbImage, truth: &Plane<u32>) -> Result<()> {
        let scored = self.folder.join("scored");
        artifact::write(&scored.join(format!("images/{id}.png")), &image_file::png_of_rgb(image)?)?;
        artifact::write(&scored.join(format!("labels/{id}.png")), &image_file::png_of_labels(truth)?)
    }

    /// Trains on the data folder for the minutes that were asked for.
    pub fn train(&self, microns_per_pixel: Option<f64>) -> Result<Trained> {
        let config = self.config(microns_per_pixel);
        let run = self.folder.join("run");
        if run.exists() {
            // An earlier quickstart's; training itself never falls on another run.
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

    /// The default profile, cut down to minutes: small crops, a shorter beginning.
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

    /// Writes the ONNX file, with the halo measured on the training images; returns its halo and the theoretical one.
    pub fn export(&self) -> Result<(usize, usize)> {
        let about = About { name: Some("quickstart".into()), ..About::default() };
        let options = export::Options { about, tiles: vec![self.data()], ..export::Options::default() };
        let summary = export::onnx(&self.folder.join("run/best.safetensors"), &self.model(), &options, self.progress)?;
        println!("  {} ({:.1} MB)", self.model().display(), summary.bytes as f64 / 1e6);
        Ok((summary.card.default_halo_px(), summary.card.reach_px))
    }

    /// The largest difference of a probability between the network in candle and its ONNX file, on an image whose sides are
    /// multiples of the stride.
    pub fn largest_difference(&self, network: &Network, image: &RgbImage) -> Result<f64> {
        let model = Model::open(&self.model())?;
        let mut segmenter = Segmenter::new(&model, &segmenter::Options::default())?;
        let in_candle = probabilities(network, image)?;
        let in_runtime = segmenter.probabilities(&image.data, 1, image.height, image.width)?;
        Ok(in_candle.data.iter().zip(in_runtime).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max))
    }
}

/// The mask that a network gives an image.
pub fn mask(network: &Network, image: &RgbImage, decoding: &Decoding) -> Result<Plane<bool>> {
    let level = decoding.first_foreground_level();
    Ok(quantised(&probabilities(network, image)?).map(|&p| p >= level))
}

/// Scores of a network on an image with labels.
pub fn score(network: &Network, image: &RgbImage, truth: &Plane<u32>, decoding: &Decoding) -> Result<Scores> {
    Ok(Scores::of_mask(truth, &mask(network, image, decoding)?, decoding, None))
}

/// Says what is being done now.
pub fn say(since: Instant, what: &str) {
    println!("[{:5.0} s] {what}", since.elapsed().as_secs_f64());
}

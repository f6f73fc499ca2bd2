//! Mutable state of a run: network, averaged predictions, progress and log, and how the state is saved and resumed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use models::card::{Metric, Training};
use models::colour::ColourStatistics;
use models::plane::Plane;
use models::weights::{Weights, WeightsFile, select};
use support::{Result, durable};

use super::batches::Batches;
use super::validation::{Scored, score};
use crate::alignment::Edges;
use crate::checkpoint::{self, Progress};
use crate::config::RunConfig;
use crate::data::image_file::png_of_rgb;
use crate::data::{Dataset, Sample, Split};
use crate::evaluate::picture;
use crate::fitted_decoding::FittedDecoding;
use crate::initial;
use crate::log::Log;
use crate::network::kernels::Kernels;
use crate::predict::Predictor;
use crate::pretrained;
use crate::run_folder::{RunFolder, validation_metric};
use crate::step::Trainer;
use crate::tensorboard::EventWriter;

/// Mutable state of a run.
pub struct State<'a> {
    pub(super) config: &'a RunConfig,
    pub(super) dataset: &'a Dataset,
    /// Indices of the training images in the data set.
    pub training: Vec<usize>,
    validation: Vec<&'a Sample>,
    /// Network, projection heads and optimiser.
    pub trainer: Trainer,
    /// Averaged predictions, one per training image; empty if the method has no pseudo-labels.
    pub averages: Arc<Vec<Plane<f32>>>,
    /// Edges of the training images, computed at the first alignment.
    pub(super) edges: Vec<Edges>,
    /// Progress of the run.
    pub progress: Progress,
    /// Loss terms and scores of all iterations.
    pub log: Log,
    /// Number of steps in this session.
    pub session_steps: u64,
    /// Event file for TensorBoard, with `run.tensorboard`.
    events: Option<EventWriter>,
    /// Source of the initial weights, for the model card.
    encoder_weights: Option<String>,
    /// Colours of the training images, for the model card.
    colours: Option<ColourStatistics>,
    /// True if the initial weights are those of a whole network, which has a score before the first step.
    starts_trained: bool,
    /// Iteration with whose weights the current `BatchNorm` statistics were measured.
    recalibrated: Option<u64>,
}

impl<'a> State<'a> {
    /// Creates the state before the first step. A resumed run does not need the file of `run.init`.
    pub fn new(config: &'a RunConfig, dataset: &'a Dataset, resume: bool, kernels: &Arc<dyn Kernels>) -> Result<Self> {
        let init = config.run.init.as_deref();
        let needed = init.filter(|path| !resume || path.exists());
        let file = needed.map(|path| pretrained::file_of(path, config.network.encoder)).transpose()?;
        let given = file.as_deref().map(WeightsFile::read).transpose()?;
        let arrays = given.map_or_else(Weights::new, |file| initial::with_encoder_prefix(file.arrays));
        let (trainer, used) = Trainer::new(config, &arrays, kernels)?;
        let described = initial::describe(needed, &arrays, trainer.network.graph(), used)?;
        let encoder_weights = described.or_else(|| Some(init?.file_name()?.to_string_lossy().into_owned()));
        let training: Vec<usize> = dataset.of(Split::Train).map(|(i, _)| i).collect();
        let images = training.iter().map(|&i| &dataset.samples[i].image);
        let colours = ColourStatistics::of_images(images.map(|image| (image.data.as_slice(), image.width)));
        let averaged = training.iter().filter(|_| config.method.uses_pseudo_labels());
        let averages = Arc::new(averaged.map(|&i| dataset.samples[i].scribble.map(|_| 0.0)).collect::<Vec<_>>());
        let validation: Vec<&Sample> = dataset.of(Split::Val).map(|(_, sample)| sample).collect();
        let starts_trained = select(trainer.network.graph(), &arrays).is_ok();
        Ok(Self {
            config,
            dataset,
            training,
            validation,
            trainer,
            averages,
            edges: Vec::new(),
            progress: Progress::default(),
            log: Log::default(),
            session_steps: 0,
            events: None,
            encoder_weights,
            colours,
            starts_trained,
            recalibrated: None,
        })
    }

    /// Logs the numbers of images and of labelled pixels.
    pub fn log_data(&self) {
        let counts = self.dataset.counts(Split::Train);
        tracing::info!(
            "{} training images, {} validation images, scored on {}; strokes on {} background and {} nucleus pixels, {:.3} % of all pixels",
            self.training.len(),
            self.validation.len(),
            validation_metric(self.config.data.validation).1,
            counts.background,
            counts.foreground,
            100.0 * counts.labelled_share()
        );
    }

    /// Restores the state from `last.safetensors` and the logs.
    pub fn resume(&mut self, files: &RunFolder) -> Result<()> {
        let mut averages = self.averages_by_id();
        self.progress = checkpoint::resume(&files.last, self.config, &mut self.trainer, &mut averages)?;
        for (average, &i) in Arc::make_mut(&mut self.averages).iter_mut().zip(&self.training) {
            average.data.clone_from(&averages[&self.dataset.samples[i].id]);
        }
        self.log = Log::read(&files.log, &files.pseudo_labels, self.progress.iteration)?;
        self.progress.seconds = self.log.seconds();
        Ok(())
    }

    /// Opens or creates the event file for TensorBoard, with `run.tensorboard`.
    pub fn open_events(&mut self, files: &RunFolder) -> Result<()> {
        if self.config.run.tensorboard {
            let Progress { iteration, seconds, .. } = self.progress;
            let metric = validation_metric(self.config.data.validation).0;
            self.events = Some(EventWriter::open(&files.events, iteration, seconds, metric)?);
        }
        Ok(())
    }

    /// Measures the `BatchNorm` statistics of the current weights, unless done; returns `false` if `stop` became true before the end.
    pub(super) fn recalibrate(&mut self, batches: &Batches, stop: &AtomicBool) -> Result<bool> {
        let current = Some(self.progress.iteration);
        if self.recalibrated == current || self.config.run.recalibrate_batches == 0 {
            return Ok(true);
        }
        let unstopped = batches.for_statistics(self.progress.iteration).take_while(|_| !stop.load(Ordering::Relaxed));
        self.trainer.recalibrate(unstopped)?;
        let done = !stop.load(Ordering::Relaxed);
        self.recalibrated = current.filter(|_| done);
        Ok(done)
    }

    /// Scores the initial weights if they are those of a whole network; returns `false` if `stop` became true before the end.
    pub fn score_start(&mut self, stop: &AtomicBool) -> Result<bool> {
        if !self.starts_trained || self.progress.iteration > 0 {
            return Ok(true);
        }
        let Some((score, _)) = self.score(stop)? else { return Ok(false) };
        self.progress.start = score;
        Ok(true)
    }

    /// Scores the validation images and fits the decoding; returns `None` if `stop` became true before the end.
    fn score(&self, stop: &AtomicBool) -> Result<Option<(Option<f64>, FittedDecoding)>> {
        let others: Vec<&Sample> = self.training.iter().map(|&i| &self.dataset.samples[i]).collect();
        Ok(match score(self.trainer.evaluated(), &self.validation, &others, self.config, stop)? {
            Scored::Done(score, fitted) => Some((score, fitted)),
            Scored::Stopped => None,
        })
    }

    /// Scores the validation images, and writes `best.safetensors` if the score is the best so far or there is none; returns `false` if
    /// `stop` became true before the end.
    pub fn validate(&mut self, batches: &Batches, files: &RunFolder, stop: &AtomicBool) -> Result<bool> {
        if !self.recalibrate(batches, stop)? {
            return Ok(false);
        }
        tracing::debug!("validating with {} images after {} iterations", self.validation.len(), self.progress.iteration);
        let Some((score, fitted)) = self.score(stop)? else { return Ok(false) };
        self.progress.fitted = Some(fitted);
        self.progress.validated = self.progress.iteration;
        if let Some(score) = score {
            self.log.push_score(self.progress.iteration, score);
        }
        let is_best = match (score, self.progress.best) {
            (Some(score), Some((best, _))) => score > best,
            (_, None) | (None, _) => true,
        };
        if is_best {
            self.progress.best = score.map(|score| (score, self.progress.iteration));
            let (config, training) = (self.decoded_config(), self.training_summary());
            checkpoint::model_file(self.trainer.evaluated(), &config, fitted.on_slides(self.config), &training)?.write(&files.best)?;
        }
        Ok(true)
    }

    /// Writes the logs, then `last.safetensors`. In this order a crash between the two leaves only log lines that a resumed run drops.
    pub fn save(&mut self, files: &RunFolder) -> Result<()> {
        self.log.write(&files.log, &files.pseudo_labels)?;
        if let Some(events) = &mut self.events {
            events.append_log(&self.log)?;
        }
        let averages = self.averages_by_id();
        checkpoint::resume_file(&self.trainer, &averages, &self.progress, self.config, &self.training_summary())?.write(&files.last)
    }

    /// Writes overlays of the first `run.overlays` images.
    pub fn write_overlays(&mut self, files: &RunFolder) -> Result<()> {
        let rule = self.trainer.pseudo_labels();
        let decoding = self.decoded_config().evaluation.decoding();
        let mut predictor = Predictor::new(self.trainer.evaluated())?;
        for (i, sample) in self.dataset.samples.iter().enumerate().take(self.config.run.overlays) {
            let prediction = predictor.probabilities(&sample.image)?;
            let position = self.training.iter().position(|&t| t == i).filter(|_| self.config.method.uses_pseudo_labels());
            let pseudo = position.map(|k| {
                let labels = rule.labels(&self.averages[k].data, &sample.scribble.data, self.progress.updates);
                Plane { width: sample.image.width, height: sample.image.height, data: labels }
            });
            let picture = picture::render(sample, pseudo.as_ref(), &prediction, &decoding);
            durable::write(&files.overlays.join(format!("{}.png", sample.id)), &png_of_rgb(&picture)?)?;
            if let Some(events) = &mut self.events {
                events.append_picture(&sample.id, &picture, self.progress.iteration, self.progress.seconds)?;
            }
        }
        Ok(())
    }

    /// Returns the configuration with the last fitted decoding, if there is one.
    fn decoded_config(&self) -> RunConfig {
        self.progress.fitted.map_or_else(|| self.config.clone(), |fitted| fitted.put_into(self.config))
    }

    /// Describes the run for the model card.
    fn training_summary(&self) -> Training {
        let counts = self.dataset.counts(Split::Train);
        let pixels: usize = self.training.iter().map(|&i| self.dataset.samples[i].scribble.data.len()).sum();
        let (name, labels) = validation_metric(self.config.data.validation);
        let measured_on = format!("{labels} of {} validation images of the run", self.validation.len());
        let metric = |(value, _)| Metric { name: name.into(), value, interval: None, measured_on: measured_on.clone() };
        Training {
            config: self.config.to_toml(),
            iterations: self.progress.iteration,
            images: self.training.len(),
            labelled_share: counts.labelled() as f64 / pixels.max(1) as f64,
            colours: self.colours.clone(),
            encoder_weights: self.encoder_weights.clone(),
            metrics: self.progress.best.map(metric).into_iter().collect(),
            config_sha256: String::new(),
            checkpoint_sha256: String::new(),
        }
    }
}

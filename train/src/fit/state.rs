//! What a run changes as it goes, and how it is saved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use models::card::{Metric, Training};
use models::colour::ColourStatistics;
use models::plane::Plane;
use models::weights::{Weights, WeightsFile};
use support::{Result, artifact};

use super::batches::Batches;
use super::files::Files;
use super::validation::{Fitted, Scored, describe, score};
use crate::alignment::Edges;
use crate::checkpoint::{self, Progress};
use crate::config::RunConfig;
use crate::data::image_file::png_of_rgb;
use crate::data::{Dataset, Sample, Split};
use crate::evaluate::{picture, probabilities};
use crate::log::Log;
use crate::network::kernels::Kernels;
use crate::pretrained;
use crate::step::Trainer;
use crate::tensorboard::EventWriter;

/// Everything that moves in a run.
pub struct State<'a> {
    pub(super) config: &'a RunConfig,
    pub(super) dataset: &'a Dataset,
    /// Positions of the training images in the data set.
    pub training: Vec<usize>,
    validation: Vec<&'a Sample>,
    /// Network, heads, optimiser.
    pub trainer: Trainer,
    /// Averaged predictions, one per training image; none where the method has no pseudo-labels.
    pub averages: Arc<Vec<Plane<f32>>>,
    /// Edges of the training images; none before the first update of the averages, nor where nothing is aligned with them.
    pub(super) edges: Vec<Edges>,
    /// Where the run stands.
    pub progress: Progress,
    /// Loss terms and scores so far.
    pub log: Log,
    /// Steps since the program started.
    pub steps_here: u64,
    /// The event file for TensorBoard, if asked for.
    board: Option<EventWriter>,
    encoder_weights: Option<String>,
    /// What the training images' colours are like.
    colours: Option<ColourStatistics>,
    /// Whether training starts from a whole network, so that it has a score before its first step.
    starts_trained: bool,
    /// The iteration whose weights the present `BatchNorm` statistics were measured with.
    recalibrated: Option<u64>,
}

impl<'a> State<'a> {
    /// A run before its first step. One that goes on can do without the weights that it started from.
    pub fn new(config: &'a RunConfig, dataset: &'a Dataset, goes_on: bool, kernels: &Arc<dyn Kernels>) -> Result<Self> {
        let init = config.run.init.as_deref();
        let needed = init.filter(|path| !goes_on || path.exists());
        let file = needed.map(|path| pretrained::file_of(path, config.network.encoder)).transpose()?;
        let given = file.as_deref().map(WeightsFile::read).transpose()?;
        let arrays = given.map_or_else(Weights::new, |file| crate::initial::with_encoder_prefix(file.arrays));
        let (trainer, used) = Trainer::new(config, &arrays, kernels)?;
        let found = crate::initial::describe(needed, &arrays, trainer.network.graph(), used)?;
        let encoder_weights = found.or_else(|| Some(init?.file_name()?.to_string_lossy().into_owned()));
        let training: Vec<usize> = dataset.of(Split::Train).map(|(i, _)| i).collect();
        let images = training.iter().map(|&i| &dataset.samples[i].image);
        let colours = ColourStatistics::of_images(images.map(|image| (image.data.as_slice(), image.width)));
        let averaged = training.iter().filter(|_| config.method.uses_pseudo_labels());
        let averages = Arc::new(averaged.map(|&i| dataset.samples[i].scribble.map(|_| 0.0)).collect::<Vec<_>>());
        let validation: Vec<&Sample> = dataset.of(Split::Val).map(|(_, sample)| sample).collect();
        let starts_trained = models::weights::select(trainer.network.graph(), &arrays).is_ok();
        let counts = dataset.counts(Split::Train);
        tracing::info!(
            "{} images to train on, {} to validate with, by {}; strokes on {} background and {} nucleus pixels, {:.3} % of all",
            training.len(),
            validation.len(),
            describe(config.data.validation).1,
            counts.background,
            counts.foreground,
            100.0 * counts.labelled_share()
        );
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
            steps_here: 0,
            board: None,
            encoder_weights,
            colours,
            starts_trained,
            recalibrated: None,
        })
    }

    /// Takes up the run where `last.safetensors` left it.
    pub fn resume(&mut self, files: &Files) -> Result<()> {
        let mut averages = self.averages_by_id();
        self.progress = checkpoint::resume(&files.last, self.config, &mut self.trainer, &mut averages)?;
        for (average, &i) in Arc::make_mut(&mut self.averages).iter_mut().zip(&self.training) {
            average.data.clone_from(&averages[&self.dataset.samples[i].id]);
        }
        self.log = Log::read(&files.log, &files.pseudo, self.progress.iteration)?;
        self.progress.seconds = self.log.seconds();
        Ok(())
    }

    /// Takes up or starts the event file for TensorBoard, if the configuration asks for it.
    pub fn open_board(&mut self, files: &Files) -> Result<()> {
        if self.config.run.tensorboard {
            let Progress { iteration, seconds, .. } = self.progress;
            self.board = Some(EventWriter::open(&files.board, iteration, seconds, describe(self.config.data.validation).0)?);
        }
        Ok(())
    }

    /// Measures `BatchNorm` statistics for the present weights; `false` if `stop` came before the end.
    pub(super) fn recalibrate(&mut self, batches: &Batches, stop: &AtomicBool) -> Result<bool> {
        let now = Some(self.progress.iteration);
        if self.recalibrated == now || self.config.run.recalibrate_batches == 0 {
            return Ok(true);
        }
        let unstopped = batches.for_statistics(self.progress.iteration).take_while(|_| !stop.load(Ordering::Relaxed));
        self.trainer.recalibrate(unstopped)?;
        let done = !stop.load(Ordering::Relaxed);
        self.recalibrated = now.filter(|_| done);
        Ok(done)
    }

    /// Scores the weights that the run starts from, if they are a whole network's; `false` if `stop` came before the end.
    pub fn score_start(&mut self, stop: &AtomicBool) -> Result<bool> {
        if !self.starts_trained || self.progress.iteration > 0 {
            return Ok(true);
        }
        let Some((score, _)) = self.scored(stop)? else { return Ok(false) };
        self.progress.start = score;
        Ok(true)
    }

    /// The score of the validation images and the decoding, none if `stop` came before the end.
    fn scored(&self, stop: &AtomicBool) -> Result<Option<(Option<f64>, Fitted)>> {
        let others: Vec<&Sample> = self.training.iter().map(|&i| &self.dataset.samples[i]).collect();
        Ok(match score(self.trainer.evaluated(), &self.validation, &others, self.config, stop)? {
            Scored::Done(score, fitted) => Some((score, fitted)),
            Scored::Stopped => None,
        })
    }

    /// Scores the validation images, and keeps the network if it was never better; `false` if `stop` came before the end.
    pub fn validate(&mut self, batches: &Batches, files: &Files, stop: &AtomicBool) -> Result<bool> {
        if !self.recalibrate(batches, stop)? {
            return Ok(false);
        }
        tracing::debug!("validating with {} images after {} iterations", self.validation.len(), self.progress.iteration);
        let Some((score, fitted)) = self.scored(stop)? else { return Ok(false) };
        self.progress.fitted = Some(fitted);
        self.progress.validated = self.progress.iteration;
        if let Some(score) = score {
            self.log.validated(self.progress.iteration, score);
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

    /// Writes the logs, then `last.safetensors`: lines that are ahead of it are dropped when the run goes on.
    pub fn save(&mut self, files: &Files) -> Result<()> {
        self.log.write(&files.log, &files.pseudo)?;
        if let Some(board) = &mut self.board {
            board.follow(&self.log)?;
        }
        let averages = self.averages_by_id();
        checkpoint::resume_file(&self.trainer, &averages, &self.progress, self.config, &self.training_summary())?.write(&files.last)
    }

    /// Overlays of the first images of the run.
    pub fn finish(&mut self, files: &Files) -> Result<()> {
        let rule = self.trainer.pseudo_labels();
        let decoding = self.decoded_config().evaluation.decoding();
        for (i, sample) in self.dataset.samples.iter().enumerate().take(self.config.run.overlays) {
            let prediction = probabilities(self.trainer.evaluated(), &sample.image)?;
            let average = self.training.iter().position(|&t| t == i).filter(|_| self.config.method.uses_pseudo_labels());
            let pseudo = average.map(|k| {
                let labels = rule.labels(&self.averages[k].data, &sample.scribble.data, self.progress.updates);
                Plane { width: sample.image.width, height: sample.image.height, data: labels }
            });
            let picture = picture::of(sample, pseudo.as_ref(), &prediction, &decoding);
            artifact::write(&files.overlays.join(format!("{}.png", sample.id)), &png_of_rgb(&picture)?)?;
            if let Some(board) = &mut self.board {
                board.picture(&sample.id, &picture, self.progress.iteration, self.progress.seconds)?;
            }
        }
        Ok(())
    }

    /// The configuration with the decoding that was fitted, if one was.
    fn decoded_config(&self) -> RunConfig {
        self.progress.fitted.map_or_else(|| self.config.clone(), |fitted| fitted.put_into(self.config))
    }

    fn training_summary(&self) -> Training {
        let counts = self.dataset.counts(Split::Train);
        let pixels: usize = self.training.iter().map(|&i| self.dataset.samples[i].scribble.data.len()).sum();
        let (name, on) = describe(self.config.data.validation);
        let measured_on = format!("{on} of {} validation images of the run", self.validation.len());
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

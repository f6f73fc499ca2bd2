//! What a run changes as it goes, and how it is saved.

use std::collections::BTreeMap;

use models::card::{Metric, Training};
use models::plane::Plane;
use models::weights::{Weights, WeightsFile};
use models::{Result, artifact};

use super::batches::{Batches, kernels};
use super::files::Files;
use super::validation::score;
use crate::checkpoint::{self, Progress};
use crate::config::{RunConfig, Validation};
use crate::data::{Dataset, Sample, Split};
use crate::evaluate::{picture, probabilities};
use crate::log::Log;
use crate::step::Trainer;

/// Everything that moves in a run.
pub struct State<'a> {
    config: &'a RunConfig,
    dataset: &'a Dataset,
    /// Positions of the training images in the data set.
    pub training: Vec<usize>,
    validation: Vec<&'a Sample>,
    /// Network, heads, optimiser.
    pub trainer: Trainer,
    /// Averaged predictions, one per training image.
    pub averages: Vec<Plane<f32>>,
    /// Where the run stands.
    pub progress: Progress,
    /// Loss terms and scores so far.
    pub log: Log,
    /// Steps since the program started.
    pub steps_here: u64,
    encoder_weights: Option<String>,
}

impl<'a> State<'a> {
    /// A run before its first step.
    pub fn new(config: &'a RunConfig, dataset: &'a Dataset) -> Result<Self> {
        let given = config.run.init.as_deref().map(WeightsFile::read).transpose()?;
        let arrays = given.map_or_else(Weights::new, |file| crate::initial::with_encoder_prefix(file.arrays));
        let (trainer, used) = Trainer::new(config, &arrays, &kernels(config)?)?;
        let encoder_weights = crate::initial::describe(config.run.init.as_deref(), arrays.len(), used)?;
        let training: Vec<usize> = dataset.of(Split::Train).map(|(i, _)| i).collect();
        let averages = training.iter().map(|&i| dataset.samples[i].scribble.map(|_| 0.0)).collect();
        let validation: Vec<&Sample> = dataset.of(Split::Val).map(|(_, sample)| sample).collect();
        tracing::info!("{} images to train on, {} to validate with, by {}", training.len(), validation.len(), config.data.validation);
        Ok(Self {
            config,
            dataset,
            training,
            validation,
            trainer,
            averages,
            progress: Progress::default(),
            log: Log::default(),
            steps_here: 0,
            encoder_weights,
        })
    }

    /// Takes up the run where `last.safetensors` left it.
    pub fn resume(&mut self, files: &Files) -> Result<()> {
        let mut averages = self.averages_by_id();
        self.progress = checkpoint::resume(&files.last, self.config, &mut self.trainer, &mut averages)?;
        for (average, &i) in self.averages.iter_mut().zip(&self.training) {
            average.data.clone_from(&averages[&self.dataset.samples[i].id]);
        }
        self.log = Log::read(&files.log, self.progress.iteration)?;
        Ok(())
    }

    fn averages_by_id(&self) -> BTreeMap<String, Vec<f32>> {
        let kept = self.config.method.uses_pseudo_labels();
        let pairs = self.averages.iter().zip(&self.training).filter(|_| kept);
        pairs.map(|(average, &i)| (self.dataset.samples[i].id.clone(), average.data.clone())).collect()
    }

    /// Moves every average towards the network's present prediction.
    pub fn update_averages(&mut self, batches: &Batches) -> Result<()> {
        self.trainer.recalibrate(&batches.for_statistics(self.progress.iteration)?)?;
        let rule = self.trainer.pseudo_labels();
        for (average, &i) in self.averages.iter_mut().zip(&self.training) {
            rule.update(&mut average.data, &probabilities(&self.trainer.network, &self.dataset.samples[i].image)?.data);
        }
        self.progress.updates += 1;
        Ok(())
    }

    /// Scores the validation images, and keeps the network if it was never better.
    pub fn validate(&mut self, batches: &Batches, files: &Files) -> Result<()> {
        self.progress.validated = self.progress.iteration;
        self.trainer.recalibrate(&batches.for_statistics(self.progress.iteration)?)?;
        let score = score(&self.trainer.network, &self.validation, self.config.data.validation)?;
        if let Some(score) = score {
            self.log.validated(self.progress.iteration, score);
        }
        let is_best = match (score, self.progress.best) {
            (Some(score), Some((best, _))) => score > best,
            (_, None) | (None, _) => true,
        };
        if is_best {
            self.progress.best = score.map(|score| (score, self.progress.iteration));
            let file = checkpoint::model_file(&self.trainer.network, self.config, &self.training_summary())?;
            file.write(&files.best)?;
        }
        Ok(())
    }

    /// Writes `last.safetensors` and `log.csv`.
    pub fn save(&self, files: &Files) -> Result<()> {
        let averages = self.averages_by_id();
        checkpoint::resume_file(&self.trainer, &averages, &self.progress, self.config, &self.training_summary())?.write(&files.last)?;
        artifact::write(&files.log, &self.log.to_csv()?)
    }

    /// Overlays of the first images of the run.
    pub fn finish(&self, files: &Files) -> Result<()> {
        let rule = self.trainer.pseudo_labels();
        for (i, sample) in self.dataset.samples.iter().enumerate().take(self.config.run.overlays) {
            let prediction = probabilities(&self.trainer.network, &sample.image)?;
            let average = self.training.iter().position(|&t| t == i).filter(|_| self.config.method.uses_pseudo_labels());
            let pseudo = average.map(|k| {
                let labels = rule.labels(&self.averages[k].data, &sample.scribble.data, self.progress.updates);
                Plane { width: sample.image.width, height: sample.image.height, data: labels }
            });
            picture::write(&files.overlays.join(format!("{}.png", sample.id)), sample, pseudo.as_ref(), &prediction)?;
        }
        Ok(())
    }

    fn training_summary(&self) -> Training {
        let counts = self.dataset.counts(Split::Train);
        let pixels: usize = self.training.iter().map(|&i| self.dataset.samples[i].scribble.data.len()).sum();
        let name = match self.config.data.validation {
            Validation::Masks => "iou",
            Validation::Scribbles => "minus_scribble_cross_entropy",
            Validation::None => "none",
        };
        let measured_on = format!("{} validation images of the run", self.validation.len());
        let metric = |(value, _)| Metric { name: name.into(), value, interval: None, measured_on: measured_on.clone() };
        Training {
            config: self.config.to_toml(),
            iterations: self.progress.iteration,
            images: self.training.len(),
            labelled_share: counts.labelled() as f64 / pixels.max(1) as f64,
            encoder_weights: self.encoder_weights.clone(),
            metrics: self.progress.best.map(metric).into_iter().collect(),
            config_sha256: String::new(),
            checkpoint_sha256: String::new(),
        }
    }
}

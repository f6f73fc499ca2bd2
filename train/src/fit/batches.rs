//! Batches: which images, cut and turned how. Everything is a function of the iteration.

use std::ops::Range;

use candle_core::Tensor;
use models::card::Normalisation;
use models::plane::Plane;
use rayon::prelude::*;
use support::Result;

use crate::augment::{AugmentConfig, Patch, augment};
use crate::config::{ColourAugmentation, Count, DataConfig, RunConfig};
use crate::data::Dataset;
use crate::rng::CounterRng;
use crate::step::{Batch, stack_images};

/// Makes the batches of a run.
pub struct Batches<'a> {
    config: &'a RunConfig,
    dataset: &'a Dataset,
    training: Vec<usize>,
    recipe: AugmentConfig,
    /// How colours of each training image are varied.
    colours: Vec<ColourAugmentation>,
    /// Places of a batch that are made here: all, or the share of a rank.
    places: Range<usize>,
}

impl<'a> Batches<'a> {
    /// Batches over the samples with these positions.
    pub fn new(config: &'a RunConfig, dataset: &'a Dataset, training: &[usize]) -> Self {
        let DataConfig { augment: colour, gamma, zoom, .. } = config.data;
        let recipe = AugmentConfig { crop: config.run.crop, colour, gamma, zoom, normalisation: Normalisation::IMAGENET };
        let colours = training.par_iter().map(|&i| colour.of(&dataset.samples[i].image)).collect();
        Self { config, dataset, training: training.to_vec(), recipe, colours, places: 0..config.run.batch }
    }

    /// The share of one of `ranks` ranks in every batch, which they divide evenly; together they make the batches of one device.
    pub fn share(&self, rank: usize, ranks: usize) -> Self {
        let each = self.config.run.batch / ranks;
        let places = rank * each..(rank + 1) * each;
        let (training, colours) = (self.training.clone(), self.colours.clone());
        Self { config: self.config, dataset: self.dataset, training, recipe: self.recipe, colours, places }
    }

    /// The batch of an iteration; `averages` stand in the order of the training images.
    pub fn get(&self, iteration: u64, averages: &[Plane<f32>], updates: u32) -> Result<Batch> {
        let patches = self.patches("augment", iteration, averages, &self.places);
        let images: Vec<Vec<f32>> = patches.iter().map(|patch| patch.image.clone()).collect();
        let image = stack_images(&images, self.recipe.crop)?;
        Ok(Batch {
            image,
            scribble: patches.iter().flat_map(|patch| patch.scribble.data.iter().copied()).collect(),
            average: patches.iter().flat_map(|patch| patch.soft.as_ref().map_or(&[] as &[f32], |map| &map.data).iter().copied()).collect(),
            updates,
        })
    }

    /// Images of batches that measure statistics after this iteration: drawn apart from those that are trained on.
    pub fn for_statistics(&self, iteration: u64) -> impl Iterator<Item = Result<Tensor>> + '_ {
        let count = self.config.run.recalibrate_batches as u64;
        let batch = move |i: u64| {
            let patches = self.patches("recalibrate", iteration * count + i, &[], &(0..self.config.run.batch));
            let images: Vec<Vec<f32>> = patches.into_iter().map(|patch| patch.image).collect();
            stack_images(&images, self.recipe.crop)
        };
        (0..count).map(batch)
    }

    fn patches(&self, purpose: &str, iteration: u64, averages: &[Plane<f32>], places: &Range<usize>) -> Vec<Patch> {
        let chosen = self.chosen(iteration);
        let make = |(place, &i): (usize, &usize)| {
            let sample = &self.dataset.samples[self.training[i]];
            let recipe = AugmentConfig { colour: self.colours[i], ..self.recipe };
            let mut draw = CounterRng::new(self.config.run.seed, purpose, 0, iteration, place as u64);
            augment(&sample.image, &sample.scribble, averages.get(i), &recipe, &mut draw)
        };
        chosen.par_iter().enumerate().filter(|(place, _)| places.contains(place)).map(make).collect()
    }

    /// Positions in the training set: shuffled passes one after the other. A run that counts epochs ends each with a partial
    /// batch, one that counts iterations fills every batch.
    fn chosen(&self, iteration: u64) -> Vec<usize> {
        let (images, batch) = (self.training.len() as u64, self.config.run.batch as u64);
        let order = |epoch: u64| CounterRng::new(self.config.run.seed, "order", epoch, 0, 0).permutation(images as usize);
        match self.config.run.count {
            Count::Epochs => {
                let per_epoch = images.div_ceil(batch);
                let from = iteration % per_epoch * batch;
                order(iteration / per_epoch)[from as usize..(from + batch).min(images) as usize].to_vec()
            }
            Count::Iterations => (iteration * batch..(iteration + 1) * batch).map(|k| order(k / images)[(k % images) as usize]).collect(),
        }
    }
}

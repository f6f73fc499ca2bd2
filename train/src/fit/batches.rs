//! Training batches: choice of images, crops and augmentation, all functions of the iteration.

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

/// Source of the batches of a run.
pub struct Batches<'a> {
    config: &'a RunConfig,
    dataset: &'a Dataset,
    training: Vec<usize>,
    recipe: AugmentConfig,
    /// Colour augmentation of each training image.
    colour_changes: Vec<ColourAugmentation>,
    /// Slots of a batch that this source fills: all, or those of one rank.
    slots: Range<usize>,
}

impl<'a> Batches<'a> {
    /// Creates the source of batches over the samples with these indices in the data set.
    pub fn new(config: &'a RunConfig, dataset: &'a Dataset, training: &[usize]) -> Self {
        let DataConfig { augment: colour, gamma, zoom, .. } = config.data;
        let recipe = AugmentConfig { crop: config.run.crop, colour, gamma, zoom, normalisation: Normalisation::IMAGENET };
        let colour_changes = training.par_iter().map(|&i| colour.of(&dataset.samples[i].image)).collect();
        Self { config, dataset, training: training.to_vec(), recipe, colour_changes, slots: 0..config.run.batch }
    }

    /// Returns the source for one of `ranks` ranks, which divide every batch evenly; together they make the batches of one device.
    pub fn for_rank(&self, rank: usize, ranks: usize) -> Self {
        let per_rank = self.config.run.batch / ranks;
        let slots = rank * per_rank..(rank + 1) * per_rank;
        let (training, colour_changes) = (self.training.clone(), self.colour_changes.clone());
        Self { config: self.config, dataset: self.dataset, training, recipe: self.recipe, colour_changes, slots }
    }

    /// Makes the batch of an iteration; `averages` are in the order of the training images, after `updates` updates.
    pub fn get(&self, iteration: u64, averages: &[Plane<f32>], updates: u32) -> Result<Batch> {
        let patches = self.patches("augment", iteration, averages, &self.slots);
        let images: Vec<Vec<f32>> = patches.iter().map(|patch| patch.image.clone()).collect();
        let image = stack_images(&images, self.recipe.crop)?;
        Ok(Batch {
            image,
            scribble: patches.iter().flat_map(|patch| patch.scribble.data.iter().copied()).collect(),
            average: patches.iter().flat_map(|patch| patch.soft.as_ref().map_or(&[] as &[f32], |map| &map.data).iter().copied()).collect(),
            updates,
        })
    }

    /// Makes the images of the batches over which `BatchNorm` statistics are measured after an iteration. Their augmentation uses random
    /// numbers of its own.
    pub fn for_statistics(&self, iteration: u64) -> impl Iterator<Item = Result<Tensor>> + '_ {
        let count = self.config.run.recalibrate_batches as u64;
        let batch = move |i: u64| {
            let patches = self.patches("recalibrate", iteration * count + i, &[], &(0..self.config.run.batch));
            let images: Vec<Vec<f32>> = patches.into_iter().map(|patch| patch.image).collect();
            stack_images(&images, self.recipe.crop)
        };
        (0..count).map(batch)
    }

    /// Makes the augmented patches of these slots; `purpose` names the stream of random numbers.
    fn patches(&self, purpose: &str, iteration: u64, averages: &[Plane<f32>], slots: &Range<usize>) -> Vec<Patch> {
        let make = |(slot, &i): (usize, &usize)| {
            let sample = &self.dataset.samples[self.training[i]];
            let recipe = AugmentConfig { colour: self.colour_changes[i], ..self.recipe };
            let mut draw = CounterRng::new(self.config.run.seed, purpose, 0, iteration, slot as u64);
            augment(&sample.image, &sample.scribble, averages.get(i), &recipe, &mut draw)
        };
        self.sample_indices(iteration).par_iter().enumerate().filter(|(slot, _)| slots.contains(slot)).map(make).collect()
    }

    /// Returns the indices of a batch's images in the training set, which is shuffled for every epoch. A run that counts epochs ends each
    /// epoch with a partial batch; a run that counts iterations fills every batch.
    fn sample_indices(&self, iteration: u64) -> Vec<usize> {
        let (images, batch) = (self.training.len() as u64, self.config.run.batch as u64);
        let order = |epoch: u64| CounterRng::new(self.config.run.seed, "order", epoch, 0, 0).permutation(images as usize);
        match self.config.run.count {
            Count::Epochs => {
                let per_epoch = images.div_ceil(batch);
                let start = iteration % per_epoch * batch;
                order(iteration / per_epoch)[start as usize..(start + batch).min(images) as usize].to_vec()
            }
            Count::Iterations => (iteration * batch..(iteration + 1) * batch).map(|k| order(k / images)[(k % images) as usize]).collect(),
        }
    }
}

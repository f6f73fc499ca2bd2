//! Data sets in memory: images with their scribbles, labels and splits.

use std::path::Path;

use models::plane::Plane;
use rayon::prelude::*;
use support::{Result, bail};

use super::folder::{Folder, abbreviated_list};
use super::image_file::{RgbImage, Stored, read_index, read_rgb};
use super::index::Split;
use super::scribble_file::{Counts, mask_as_scribble, read_scribble, unlabelled_map};
use super::sides::cropped;
use super::split::{assigned, hold_out};
use crate::config::{DataConfig, Method, RunConfig, Sides, Validation};

/// Image with its scribbles and labels. All planes have the size of the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Image id: the file name without its extension.
    pub id: String,
    /// Modality from `index.csv`.
    pub modality: Option<String>,
    /// Use of the image in the run.
    pub split: Split,
    /// Pixels, `height width 3` u8.
    pub image: RgbImage,
    /// Scribble map: 0 background, 1 foreground, 250 unlabelled. All pixels are unlabelled if there is no scribble file.
    pub scribble: Plane<u8>,
    /// Instance map: 0 background, k the k-th nucleus. `None` if there is no label file.
    pub labels: Option<Plane<u32>>,
}

/// All images of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Samples in ascending order of their ids.
    pub samples: Vec<Sample>,
}

/// Kind of annotation that every image of a set must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Supervision {
    Scribbles,
    Masks,
}

impl Dataset {
    /// Reads the images that `config` selects, and holds out validation images if `index.csv` names none.
    ///
    /// # Errors
    /// An unreadable or inconsistent file, training images without annotations, or annotations that lack a class.
    pub fn load(config: &RunConfig) -> Result<Self> {
        let folder = Folder::open(&config.data.folder)?;
        let ids = ids_of_modality(&folder, config.data.modality.as_deref())?;
        let splits: Vec<Split> = assigned(&folder, &ids, &config.data)?.into_iter().map(|split| split.unwrap_or(Split::Train)).collect();
        let supervision = if config.method.name == Method::Full { Supervision::Masks } else { Supervision::Scribbles };
        let trained: Vec<&str> = ids.iter().zip(&splits).filter(|(_, s)| **s == Split::Train).map(|(id, _)| *id).collect();
        check_annotations(&folder, &trained, supervision)?;
        let mut dataset = Self::read(&folder, &ids, &splits, &config.data)?;
        if supervision == Supervision::Masks {
            dataset.scribbles_from_masks();
        }
        dataset.hold_out(config);
        dataset.check_labelled()?;
        Ok(dataset)
    }

    /// Reads the images of one split, or of all, for scoring: instance labels are required, scribbles are optional.
    ///
    /// The folds of cross-validation (`data.fold`) apply only to the folder that the run was trained on.
    ///
    /// # Errors
    /// As [`Dataset::load`], images without instance labels, or no image of the split.
    pub fn load_labelled(path: &Path, split: Option<Split>, modality: Option<&str>, config: &DataConfig) -> Result<Self> {
        let folder = Folder::open(path)?;
        let same_folder = path.canonicalize().ok() == config.folder.canonicalize().ok();
        let config = DataConfig { fold: config.fold.filter(|_| same_folder), ..config.clone() };
        let all = ids_of_modality(&folder, modality)?;
        let splits = assigned(&folder, &all, &config)?;
        let (ids, splits): (Vec<&str>, Vec<Option<Split>>) =
            all.into_iter().zip(splits).filter(|(_, own)| split.is_none() || *own == split).unzip();
        if ids.is_empty() {
            let split = split.map_or("any split", Split::name);
            bail!("{}: no image of split {split:?}", path.display(); hint: "write the split of each image into index.csv, or leave --split out");
        }
        check_annotations(&folder, &ids, Supervision::Masks)?;
        let splits: Vec<Split> = splits.into_iter().map(|split| split.unwrap_or(Split::Test)).collect();
        Self::read(&folder, &ids, &splits, &config)
    }

    /// Iterates over the samples of a split, with their indices in [`Dataset::samples`].
    pub fn of(&self, split: Split) -> impl Iterator<Item = (usize, &Sample)> {
        self.samples.iter().enumerate().filter(move |(_, sample)| sample.split == split)
    }

    /// Counts the labelled and unlabelled pixels of a split.
    pub fn counts(&self, split: Split) -> Counts {
        self.of(split).fold(Counts::default(), |mut sum, (_, sample)| {
            sum += Counts::of(&sample.scribble);
            sum
        })
    }

    fn read(folder: &Folder, ids: &[&str], splits: &[Split], config: &DataConfig) -> Result<Self> {
        let read = |(id, split): (&&str, &Split)| Sample::read(folder, id, *split, config);
        // All images are read before an error is returned, so that the error of the first image is reported in every run.
        let read: Vec<Result<_>> = ids.par_iter().zip(splits).map(read).collect();
        let (samples, stored): (Vec<_>, Vec<_>) = read.into_iter().collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let deep = stored.iter().filter(|stored| stored.bits == 16).count();
        if deep > 0 {
            tracing::info!(
                "{deep} of {} images have 16 bits: values are divided by 257, without stretching; dim images should be stretched first",
                samples.len()
            );
        }
        Ok(Self { samples })
    }

    /// Replaces scribbles by complete masks, for full supervision.
    fn scribbles_from_masks(&mut self) {
        for sample in &mut self.samples {
            if let Some(labels) = &sample.labels {
                sample.scribble = mask_as_scribble(labels);
            }
        }
    }

    /// Moves a fraction of the training images to the validation split, if there are no validation images.
    ///
    /// Only images with the annotations that `data.validation` needs are held out.
    fn hold_out(&mut self, config: &RunConfig) {
        let can_validate = |sample: &Sample| match config.data.validation {
            Validation::Masks => sample.labels.is_some(),
            Validation::Scribbles => Counts::of(&sample.scribble).labelled() > 0,
            Validation::None => false,
        };
        if self.of(Split::Val).next().is_some() {
            return;
        }
        let candidates: Vec<usize> = self.of(Split::Train).filter(|(_, sample)| can_validate(sample)).map(|(i, _)| i).collect();
        let held = hold_out(candidates.len(), config.data.validation_share, config.run.seed);
        tracing::info!(
            "{} of {} training images are held out for validation (data.validation = {})",
            held.len(),
            candidates.len(),
            config.data.validation
        );
        if held.is_empty() && config.data.validation != Validation::None {
            tracing::warn!("no image is left for validation: the last checkpoint counts as the best");
        }
        for i in held {
            self.samples[candidates[i]].split = Split::Val;
        }
    }

    /// Checks that the training images have labelled pixels of both classes.
    fn check_labelled(&self) -> Result<()> {
        let counts = self.counts(Split::Train);
        if self.of(Split::Train).next().is_none() {
            bail!("no training images"; hint: "set the split of some images to \"train\" in index.csv");
        }
        if counts.background == 0 || counts.foreground == 0 {
            bail!("the training images have {} background and {} nucleus pixels with scribbles, expected both classes", counts.background, counts.foreground; hint: "draw strokes of both classes; if both were drawn, check [data.label_map]");
        }
        Ok(())
    }
}

impl Sample {
    fn read(folder: &Folder, id: &str, split: Split, config: &DataConfig) -> Result<(Self, Stored)> {
        let (image, stored) = read_rgb(&folder.images[id], config.channel.as_deref())?;
        let scribble = match folder.scribbles.get(id) {
            Some(path) => read_scribble(path, image.width, image.height, config)?,
            None => unlabelled_map(image.width, image.height),
        };
        let labels = folder.labels.get(id).map(|path| read_labels(path, &image)).transpose()?;
        let modality = folder.modality(id).map(str::to_owned);
        let sample = Self { id: id.to_owned(), modality, split, image, scribble, labels };
        let sample = if config.sides == Sides::Crop { cropped(sample)? } else { sample };
        Ok((sample, stored))
    }
}

/// Reads the instance labels of `image`.
///
/// # Errors
/// An unreadable file, or labels of another size than the image.
pub(crate) fn read_labels(path: &Path, image: &RgbImage) -> Result<Plane<u32>> {
    let labels = read_index(path)?;
    if (labels.width, labels.height) != (image.width, image.height) {
        bail!("{}: the labels are {} x {}, but the image is {}", path.display(), labels.width, labels.height, image.size(); hint: "labels must have the size of their image");
    }
    Ok(labels)
}

/// Returns the ids of the images of `modality`, or of all images.
fn ids_of_modality<'f>(folder: &'f Folder, modality: Option<&str>) -> Result<Vec<&'f str>> {
    let ids: Vec<&str> =
        folder.images.keys().map(String::as_str).filter(|id| modality.is_none() || folder.modality(id) == modality).collect();
    if let (true, Some(modality)) = (ids.is_empty(), modality) {
        let known: std::collections::BTreeSet<_> = folder.images.keys().filter_map(|id| folder.modality(id)).collect();
        bail!("{}: no image of modality {modality:?}", folder.path.display(); hint: "the modalities in index.csv are {known:?}");
    }
    Ok(ids)
}

/// Checks that each of the images has an annotation file of the required kind.
fn check_annotations(folder: &Folder, ids: &[&str], supervision: Supervision) -> Result<()> {
    let (files, name, hint) = match supervision {
        Supervision::Scribbles => (
            &folder.scribbles,
            "scribbles",
            "draw scribbles, or generate them from labels/ with `train scribble`; set the split of images without scribbles to \"test\" in index.csv",
        ),
        Supervision::Masks => (&folder.labels, "labels", "put instance maps with the names of the images there"),
    };
    let path = folder.path.join(name);
    if files.is_empty() {
        bail!("{}: no {name} found", path.display(); hint: "{hint}");
    }
    let missing: Vec<&&str> = ids.iter().filter(|id| !files.contains_key(**id)).collect();
    if !missing.is_empty() {
        bail!("{}: images without {name}: {}", path.display(), abbreviated_list(&missing); hint: "{hint}");
    }
    Ok(())
}

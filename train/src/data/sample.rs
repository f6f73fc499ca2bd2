//! A data set in memory, ready to train on or to be measured against.

use std::path::Path;

use models::plane::Plane;
use rayon::prelude::*;
use support::{Result, bail};

use super::folder::{Folder, some_of};
use super::image_file::{RgbImage, Stored, read_index, read_rgb};
use super::index::Split;
use super::scribble_file::{Counts, mask_as_scribble, nothing_drawn, read_scribble};
use super::sides::cropped;
use super::split::{assigned, hold_out};
use crate::config::{DataConfig, Method, RunConfig, Sides, Validation};

/// One image and what is known about it. All planes have the image's size.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// File name without extension.
    pub id: String,
    /// Column `modality` of `index.csv`.
    pub modality: Option<String>,
    /// What it is used for.
    pub split: Split,
    /// The image.
    pub image: RgbImage,
    /// 0 background, 1 foreground, 250 unlabelled; all unlabelled where there is no scribble file.
    pub scribble: Plane<u8>,
    /// 0 background, k the k-th nucleus.
    pub labels: Option<Plane<u32>>,
}

/// All images of a run, ordered by id.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Ordered by id.
    pub samples: Vec<Sample>,
}

/// What a caller needs of the files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Scribbles,
    Masks,
}

impl Dataset {
    /// Reads what `config` trains on, with validation images held out where `index.csv` names none.
    pub fn load(config: &RunConfig) -> Result<Self> {
        let folder = Folder::open(&config.data.folder)?;
        let ids = chosen(&folder, config.data.modality.as_deref())?;
        let splits: Vec<Split> = assigned(&folder, &ids, &config.data)?.into_iter().map(|split| split.unwrap_or(Split::Train)).collect();
        let needs = if config.method.name == Method::Full { Needs::Masks } else { Needs::Scribbles };
        let trained: Vec<&str> = ids.iter().zip(&splits).filter(|(_, s)| **s == Split::Train).map(|(id, _)| *id).collect();
        check_files(&folder, &trained, needs)?;
        let mut dataset = Self::read(&folder, &ids, &splits, &config.data)?;
        if needs == Needs::Masks {
            dataset.label_by_masks();
        }
        dataset.hold_out(config);
        dataset.check_labelled()?;
        Ok(dataset)
    }

    /// Reads the images of one split, or all, to score predictions against: each needs instance labels, none needs scribbles.
    ///
    /// Cross-validation (`data.fold`) divides the folder that the run was trained on, and no other.
    pub fn load_labelled(path: &Path, split: Option<Split>, modality: Option<&str>, config: &DataConfig) -> Result<Self> {
        let folder = Folder::open(path)?;
        let same_folder = path.canonicalize().ok() == config.folder.canonicalize().ok();
        let config = DataConfig { fold: config.fold.filter(|_| same_folder), ..config.clone() };
        let all = chosen(&folder, modality)?;
        let splits = assigned(&folder, &all, &config)?;
        let (ids, splits): (Vec<&str>, Vec<Option<Split>>) =
            all.into_iter().zip(splits).filter(|(_, own)| split.is_none() || *own == split).unzip();
        if ids.is_empty() {
            let split = split.map_or("any split", Split::name);
            bail!("{}: no image of split {split:?}", path.display(); hint: "write the split of each image into index.csv, or leave --split out");
        }
        check_files(&folder, &ids, Needs::Masks)?;
        let splits: Vec<Split> = splits.into_iter().map(|split| split.unwrap_or(Split::Test)).collect();
        Self::read(&folder, &ids, &splits, &config)
    }

    /// The samples of a split, with their positions in [`Dataset::samples`].
    pub fn of(&self, split: Split) -> impl Iterator<Item = (usize, &Sample)> {
        self.samples.iter().enumerate().filter(move |(_, sample)| sample.split == split)
    }

    /// Labelled pixels of a split.
    pub fn counts(&self, split: Split) -> Counts {
        self.of(split).fold(Counts::default(), |mut sum, (_, sample)| {
            sum += Counts::of(&sample.scribble);
            sum
        })
    }

    fn read(folder: &Folder, ids: &[&str], splits: &[Split], config: &DataConfig) -> Result<Self> {
        let read = |(id, split): (&&str, &Split)| Sample::read(folder, id, *split, config);
        // All are read before an error is told, so that it is that of the first image, whatever thread met it.
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

    fn label_by_masks(&mut self) {
        for sample in &mut self.samples {
            if let Some(labels) = &sample.labels {
                sample.scribble = mask_as_scribble(labels);
            }
        }
    }

    /// Makes a share of the training images validation images, if there are none yet and they can serve.
    fn hold_out(&mut self, config: &RunConfig) {
        let serves = |sample: &Sample| match config.data.validation {
            Validation::Masks => sample.labels.is_some(),
            Validation::Scribbles => Counts::of(&sample.scribble).labelled() > 0,
            Validation::None => false,
        };
        if self.of(Split::Val).next().is_some() {
            return;
        }
        let able: Vec<usize> = self.of(Split::Train).filter(|(_, sample)| serves(sample)).map(|(i, _)| i).collect();
        let held = hold_out(able.len(), config.data.validation_share, config.run.seed);
        tracing::info!("{} of {} training images are held out for validation by {}", held.len(), able.len(), config.data.validation);
        if held.is_empty() && config.data.validation != Validation::None {
            tracing::warn!("no image is left to validate on: the last checkpoint will count as the best");
        }
        for i in held {
            self.samples[able[i]].split = Split::Val;
        }
    }

    fn check_labelled(&self) -> Result<()> {
        let counts = self.counts(Split::Train);
        if self.of(Split::Train).next().is_none() {
            bail!("no training images"; hint: "give some images the split \"train\" in index.csv");
        }
        if counts.background == 0 || counts.foreground == 0 {
            bail!("the training images have {} background and {} nucleus pixels with scribbles, expected some of both", counts.background, counts.foreground; hint: "draw strokes of both classes; if they were drawn, check [data.label_map]");
        }
        Ok(())
    }
}

impl Sample {
    fn read(folder: &Folder, id: &str, split: Split, config: &DataConfig) -> Result<(Self, Stored)> {
        let (image, stored) = read_rgb(&folder.images[id])?;
        let scribble = match folder.scribbles.get(id) {
            Some(path) => read_scribble(path, image.width, image.height, config)?,
            None => nothing_drawn(image.width, image.height),
        };
        let labels = folder.labels.get(id).map(|path| read_labels(path, &image)).transpose()?;
        let modality = folder.modality(id).map(str::to_owned);
        let sample = Self { id: id.to_owned(), modality, split, image, scribble, labels };
        let sample = if config.sides == Sides::Crop { cropped(sample)? } else { sample };
        Ok((sample, stored))
    }
}

/// Reads the instance labels of `image`.
pub(crate) fn read_labels(path: &Path, image: &RgbImage) -> Result<Plane<u32>> {
    let labels = read_index(path)?;
    if (labels.width, labels.height) != (image.width, image.height) {
        bail!("{}: the labels are {} x {}, but the image is {}", path.display(), labels.width, labels.height, image.size(); hint: "labels have the size of their image");
    }
    Ok(labels)
}

fn chosen<'f>(folder: &'f Folder, modality: Option<&str>) -> Result<Vec<&'f str>> {
    let ids: Vec<&str> =
        folder.images.keys().map(String::as_str).filter(|id| modality.is_none() || folder.modality(id) == modality).collect();
    if let (true, Some(modality)) = (ids.is_empty(), modality) {
        let known: std::collections::BTreeSet<_> = folder.images.keys().filter_map(|id| folder.modality(id)).collect();
        bail!("{}: no image of modality {modality:?}", folder.path.display(); hint: "index.csv has the modalities {known:?}");
    }
    Ok(ids)
}

fn check_files(folder: &Folder, ids: &[&str], needs: Needs) -> Result<()> {
    let (files, name, hint) = match needs {
        Needs::Scribbles => (
            &folder.scribbles,
            "scribbles",
            "draw scribbles, or make them from labels/ with `train scribble`; images to be measured only get the split \"test\" in index.csv",
        ),
        Needs::Masks => (&folder.labels, "labels", "put instance maps of the images' names there"),
    };
    let path = folder.path.join(name);
    if files.is_empty() {
        bail!("{}: no {name} found", path.display(); hint: "{hint}");
    }
    let missing: Vec<&&str> = ids.iter().filter(|id| !files.contains_key(**id)).collect();
    if !missing.is_empty() {
        bail!("{}: images without {name}: {}", path.display(), some_of(&missing); hint: "{hint}");
    }
    Ok(())
}

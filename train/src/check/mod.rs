//! Audit of a data folder before training: faults, labelled pixels, memory and time (`train check`).

mod estimate;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use models::plane::Plane;
use rayon::prelude::*;
use serde::Serialize;
use support::{Error, Result, durable};

use crate::config::{Method, RunConfig, Validation};
use crate::data::image_file::{Stored, read_rgb};
use crate::data::split::assigned;
use crate::data::{Counts, Folder, Split, mask_as_scribble, read_labels, read_scribble};
use crate::scribble::{FOREGROUND, UNLABELLED};
pub use estimate::{Memory, Time, time};

/// Smallest ratio of one class to all scribbled pixels without a warning, as its inverse: 5 %.
const RAREST_CLASS: u64 = 20;
/// Largest ratio of contradicting to all scribbled pixels without a warning, as its inverse: 5 %.
const CONTRADICTING: u64 = 20;

/// Audit of one image.
#[derive(Clone, Debug, Serialize)]
pub struct ImageAudit {
    /// File name without extension.
    pub id: String,
    /// Split to which the image is assigned; images without one count as training images.
    pub split: Split,
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Number of channels of the file.
    pub channels: u8,
    /// Bits per channel of the file.
    pub bits: u16,
    /// Notes about the conversion of the file to RGB, and about images and channels of the file that were not read.
    pub notes: Vec<String>,
    /// Labelled pixels; `None` without a scribble file.
    pub scribbles: Option<Counts>,
    /// Number of scribbled pixels that the instance labels contradict; `None` unless the image has both.
    pub contradicting: Option<u64>,
    /// Number of nuclei; `None` without instance labels.
    pub nuclei: Option<usize>,
    /// SHA-256 of size and pixels.
    pub pixels_sha256: String,
}

/// Audit of a data folder.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Readable images, by id.
    pub images: Vec<ImageAudit>,
    /// Faults that training refuses.
    pub problems: Vec<String>,
    /// Findings that training accepts, but that deserve a look.
    pub warnings: Vec<String>,
    /// Estimate of the memory.
    pub memory: Memory,
    /// Estimate of the time; `None` if not measured.
    pub time: Option<Time>,
}

impl Audit {
    /// Returns true if training would start.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Audits all images that `config` would train on. Faults of images are collected in the audit, they are no errors. `time` is left `None`.
pub fn audit(config: &RunConfig) -> Result<Audit> {
    let folder = Folder::open(&config.data.folder)?;
    let of_modality = |id: &&String| config.data.modality.is_none() || folder.modality(id) == config.data.modality.as_deref();
    let ids: Vec<&String> = folder.images.keys().filter(of_modality).collect();
    let names: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    let splits = assigned(&folder, &names, &config.data)?;
    let one = |(id, split): (&&String, &Option<Split>)| audit_image(&folder, id, split.unwrap_or(Split::Train), config);
    let audited: Vec<(Option<ImageAudit>, Vec<String>)> = ids.par_iter().zip(&splits).map(one).collect();
    let mut audit = Audit { images: Vec::new(), problems: Vec::new(), warnings: Vec::new(), memory: Memory::default(), time: None };
    for (image, problems) in audited {
        audit.images.extend(image);
        audit.problems.extend(problems);
    }
    audit.memory = Memory::of(&audit.images, config);
    audit.check_images(config);
    audit.check_balance();
    audit.check_duplicates();
    audit.check_splits();
    Ok(audit)
}

/// Audits one image; returns `None` if it cannot be read, and its problems.
fn audit_image(folder: &Folder, id: &str, split: Split, config: &RunConfig) -> (Option<ImageAudit>, Vec<String>) {
    let mut problems = Vec::new();
    let mut collect = |error: Error| {
        let hint = error.hint_text().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
        problems.push(format!("{error}{hint}"));
    };
    let (image, Stored { channels, bits, notes }) = match read_rgb(&folder.images[id], config.data.channel.as_deref()) {
        Ok(read) => read,
        Err(error) => {
            collect(error);
            return (None, problems);
        }
    };
    let labels = folder.labels.get(id).and_then(|path| read_labels(path, &image).map_err(&mut collect).ok());
    let scribble = if config.method.name == Method::Full {
        labels.as_ref().map(mask_as_scribble)
    } else {
        folder.scribbles.get(id).and_then(|path| read_scribble(path, image.width, image.height, &config.data).map_err(&mut collect).ok())
    };
    let mut hashed = [image.width as u64, image.height as u64].map(u64::to_le_bytes).concat();
    hashed.extend_from_slice(&image.data);
    let audit = ImageAudit {
        id: id.to_owned(),
        split,
        width: image.width,
        height: image.height,
        channels,
        bits,
        notes,
        scribbles: scribble.as_ref().map(Counts::of),
        contradicting: scribble.as_ref().zip(labels.as_ref()).map(|(scribble, labels)| contradicting(scribble, labels)),
        nuclei: labels.as_ref().map(|labels| labels.data.iter().filter(|id| **id > 0).collect::<BTreeSet<_>>().len()),
        pixels_sha256: durable::sha256(&hashed),
    };
    (Some(audit), problems)
}

/// Counts the scribbled pixels whose class the instance labels contradict.
fn contradicting(scribble: &Plane<u8>, labels: &Plane<u32>) -> u64 {
    let pairs = scribble.data.iter().zip(&labels.data);
    pairs.filter(|(stroke, id)| **stroke != UNLABELLED && (**stroke == FOREGROUND) != (**id > 0)).count() as u64
}

impl Audit {
    /// Lists the ids of the images that satisfy the predicate.
    fn ids_where(&self, predicate: impl Fn(&ImageAudit) -> bool) -> Vec<&str> {
        self.images.iter().filter(|image| predicate(image)).map(|image| image.id.as_str()).collect()
    }

    /// Checks scribbles, sizes and depth of the images.
    fn check_images(&mut self, config: &RunConfig) {
        let source = if config.method.name == Method::Full { "labels" } else { "scribbles" };
        let train = |image: &ImageAudit| image.split == Split::Train;
        let labelled = |image: &ImageAudit| image.scribbles.map_or(0, Counts::labelled);
        let missing = self.ids_where(|image| train(image) && image.scribbles.is_none());
        let empty = self.ids_where(|image| train(image) && image.scribbles.is_some() && labelled(image) == 0);
        let wrong = self.ids_where(|image| image.contradicting.is_some_and(|n| n * CONTRADICTING > labelled(image)));
        let small = self.ids_where(|image| image.width.min(image.height) < config.run.crop);
        let deep = self.ids_where(|image| image.bits > 8);
        let one_sided = self.ids_where(|image| {
            let counts = image.scribbles.unwrap_or_default();
            train(image) && labelled(image) > 0 && (counts.background == 0 || counts.foreground == 0)
        });
        let no_masks = config.data.validation == Validation::Masks && self.images.iter().all(|image| image.nuclei.is_none());
        let problem = listed(&missing, &format!("training images without {source}"));
        let warnings = [
            listed(&empty, "scribbles without a stroke"),
            listed(&one_sided, "strokes of one class only"),
            no_masks.then(|| "data.validation is masks, but no image has labels: --set data.validation=scribbles".to_owned()),
            listed(&wrong, "more than 5 % of the scribbled pixels contradict the labels"),
            listed(&small, &format!("smaller than the crop of {} px, padded by reflection", config.run.crop)),
            listed(&deep, "16-bit images: stretch the contrast of dim ones first"),
        ];
        let notes: BTreeSet<&str> = self.images.iter().flat_map(|image| &image.notes).map(String::as_str).collect();
        let listed_note = |note: &str| listed(&self.ids_where(|image| image.notes.iter().any(|other| other == note)), note);
        let noted: Vec<String> = notes.into_iter().filter_map(listed_note).collect();
        self.problems.extend(problem);
        self.warnings.extend(warnings.into_iter().flatten().chain(noted));
    }

    /// Checks the balance of the classes over all training images.
    fn check_balance(&mut self) {
        let total = self.counts(Split::Train);
        let rarer = total.background.min(total.foreground);
        if rarer > 0 && rarer * RAREST_CLASS < total.labelled() {
            self.warnings.push(format!(
                "the classes are far from balanced: {} background and {} nucleus pixels; draw more strokes of the rarer class",
                total.background, total.foreground
            ));
        }
        if total.background == 0 || total.foreground == 0 {
            self.problems.push(format!(
                "the training images have {} background and {} nucleus pixels labelled, expected some of each class",
                total.background, total.foreground
            ));
        }
    }

    /// Checks for identical images. Across two splits they leak training data into scores; within a split they count twice.
    fn check_duplicates(&mut self) {
        let mut by_hash = BTreeMap::<&str, Vec<&ImageAudit>>::new();
        self.images.iter().for_each(|image| by_hash.entry(&image.pixels_sha256).or_default().push(image));
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        for same in by_hash.values().filter(|same| same.len() > 1) {
            let names: Vec<String> = same.iter().map(|image| format!("{} ({})", image.id, image.split)).collect();
            let crosses = same.iter().any(|image| image.split != same[0].split);
            let text = format!("the same picture: {}", names.join(", "));
            if crosses { problems.push(format!("{text}: in two splits, which makes scores too high")) } else { warnings.push(text) }
        }
        self.problems.extend(problems);
        self.warnings.extend(warnings);
    }

    fn check_splits(&mut self) {
        if !self.images.iter().any(|image| image.split == Split::Train) {
            self.problems.push("no training images: give some the split \"train\" in index.csv".into());
        }
    }

    /// Sums the labelled pixels of a split.
    pub fn counts(&self, split: Split) -> Counts {
        self.images.iter().filter(|image| image.split == split).filter_map(|image| image.scribbles).fold(
            Counts::default(),
            |mut sum, counts| {
                sum += counts;
                sum
            },
        )
    }
}

/// Formats a finding with the first ids; `None` without ids.
fn listed(ids: &[&str], finding: &str) -> Option<String> {
    (!ids.is_empty()).then(|| format!("{finding}: {}", crate::data::abbreviated_list(ids)))
}

//! `train check`: everything that can be told about a data folder before hours are spent on it.

mod estimate;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;

use models::plane::Plane;
use rayon::prelude::*;
use serde::Serialize;
use support::{Error, Result, artifact};

use crate::config::{Method, Profile, RunConfig, Validation, choice};
use crate::data::image_file::{Stored, read_rgb};
use crate::data::split::assigned;
use crate::data::{Counts, Folder, Split, mask_as_scribble, read_labels, read_scribble};
use crate::scribble::{FOREGROUND, UNLABELLED};
pub use estimate::{Memory, Time, time};

/// Options of `train check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The run's configuration
    pub config: PathBuf,
    /// Values for what the configuration leaves out: default, paper
    #[arg(long, default_value = "default", value_parser = choice::parse::<Profile>)]
    pub profile: Profile,
    /// Change one value, for example --set data.folder=DATA
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// Do not time two training steps
    #[arg(long)]
    pub no_timing: bool,
}

/// Runs `train check`. The caller prints [`Audit::to_text`] and fails if not [`Audit::is_sound`].
pub fn run(args: &CheckArgs) -> Result<Audit> {
    let config = RunConfig::load(&args.config, args.profile, &args.sets)?;
    let mut audit = audit(&config)?;
    if !args.no_timing && audit.is_sound() {
        audit.time = Some(time(&audit.images, &config)?);
    }
    Ok(audit)
}

/// What was found out about one image.
#[derive(Clone, Debug, Serialize)]
pub struct ImageAudit {
    /// File name without extension.
    pub id: String,
    /// What it is used for.
    pub split: Split,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Channels of the file.
    pub channels: u8,
    /// Bits per channel of the file.
    pub bits: u16,
    /// What is labelled; `None` without a scribble file.
    pub scribbles: Option<Counts>,
    /// Scribbled pixels that the instance labels contradict; `None` where one of the two is missing.
    pub contradicting: Option<u64>,
    /// Nuclei; `None` without labels.
    pub nuclei: Option<usize>,
    /// SHA-256 of size and pixels.
    pub pixels_sha256: String,
}

/// The outcome of `train check`.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Every image that could be read, by id.
    pub images: Vec<ImageAudit>,
    /// What training would refuse.
    pub problems: Vec<String>,
    /// What training would accept but a person should look at.
    pub warnings: Vec<String>,
    /// An estimate.
    pub memory: Memory,
    /// An estimate; `None` where it was not asked for or a step failed.
    pub time: Option<Time>,
}

impl Audit {
    /// Whether training would start.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Looks at everything that `config` would train on; faults are collected, not stopped at.
pub fn audit(config: &RunConfig) -> Result<Audit> {
    let folder = Folder::open(&config.data.folder)?;
    let chosen = |id: &&String| config.data.modality.is_none() || folder.modality(id) == config.data.modality.as_deref();
    let ids: Vec<&String> = folder.images.keys().filter(chosen).collect();
    let names: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    let splits = assigned(&folder, &names, &config.data)?;
    let look = |(id, split): (&&String, &Option<Split>)| look_at(&folder, id, split.unwrap_or(Split::Train), config);
    let found: Vec<(Option<ImageAudit>, Vec<String>)> = ids.par_iter().zip(&splits).map(look).collect();
    let mut audit = Audit { images: Vec::new(), problems: Vec::new(), warnings: Vec::new(), memory: Memory::default(), time: None };
    for (image, problems) in found {
        audit.images.extend(image);
        audit.problems.extend(problems);
    }
    audit.memory = Memory::of(&audit.images, config);
    audit.judge_scribbles(config);
    audit.judge_duplicates();
    audit.judge_splits();
    Ok(audit)
}

fn look_at(folder: &Folder, id: &str, split: Split, config: &RunConfig) -> (Option<ImageAudit>, Vec<String>) {
    let mut problems = Vec::new();
    let mut kept = |error: Error| {
        let hint = error.hint_text().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
        problems.push(format!("{error}{hint}"));
    };
    let (image, Stored { channels, bits }) = match read_rgb(&folder.images[id]) {
        Ok(read) => read,
        Err(error) => {
            kept(error);
            return (None, problems);
        }
    };
    let labels = folder.labels.get(id).and_then(|path| read_labels(path, &image).map_err(&mut kept).ok());
    let scribble = if config.method.name == Method::Full {
        labels.as_ref().map(mask_as_scribble)
    } else {
        folder.scribbles.get(id).and_then(|path| read_scribble(path, image.width, image.height, &config.data).map_err(&mut kept).ok())
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
        scribbles: scribble.as_ref().map(Counts::of),
        contradicting: scribble.as_ref().zip(labels.as_ref()).map(|(scribble, labels)| contradicting(scribble, labels)),
        nuclei: labels.as_ref().map(|labels| labels.data.iter().filter(|id| **id > 0).collect::<std::collections::BTreeSet<_>>().len()),
        pixels_sha256: artifact::sha256(&hashed),
    };
    (Some(audit), problems)
}

fn contradicting(scribble: &Plane<u8>, labels: &Plane<u32>) -> u64 {
    let pairs = scribble.data.iter().zip(&labels.data);
    pairs.filter(|(stroke, id)| **stroke != UNLABELLED && (**stroke == FOREGROUND) != (**id > 0)).count() as u64
}

impl Audit {
    fn ids_where(&self, wanted: impl Fn(&ImageAudit) -> bool) -> Vec<&str> {
        self.images.iter().filter(|image| wanted(image)).map(|image| image.id.as_str()).collect()
    }

    fn judge_scribbles(&mut self, config: &RunConfig) {
        let what = if config.method.name == Method::Full { "labels" } else { "scribbles" };
        let train = |image: &ImageAudit| image.split == Split::Train;
        let labelled = |image: &ImageAudit| image.scribbles.map_or(0, Counts::labelled);
        let missing = self.ids_where(|image| train(image) && image.scribbles.is_none());
        let empty = self.ids_where(|image| train(image) && image.scribbles.is_some() && labelled(image) == 0);
        let wrong = self.ids_where(|image| image.contradicting.is_some_and(|n| n * 20 > labelled(image)));
        let small = self.ids_where(|image| image.width.min(image.height) < config.run.crop);
        let deep = self.ids_where(|image| image.bits > 8);
        let one_sided = self.ids_where(|image| {
            let counts = image.scribbles.unwrap_or_default();
            train(image) && labelled(image) > 0 && (counts.background == 0 || counts.foreground == 0)
        });
        let few_masks = config.data.validation == Validation::Masks && self.images.iter().all(|image| image.nuclei.is_none());
        let problem = listed(&missing, &format!("training images without {what}"));
        let warnings = [
            listed(&empty, "scribbles without a stroke"),
            listed(&one_sided, "strokes of one class only"),
            few_masks.then(|| "data.validation is masks, but no image has labels: --set data.validation=scribbles".to_owned()),
            listed(&wrong, "more than 5 % of the scribbled pixels contradict the labels"),
            listed(&small, &format!("smaller than the crop of {} px, continued by reflection", config.run.crop)),
            listed(&deep, "16-bit images, divided by 257: dim ones should be stretched first"),
        ];
        self.problems.extend(problem);
        self.warnings.extend(warnings.into_iter().flatten());
        let total = self.counts(Split::Train);
        let rarer = total.background.min(total.foreground);
        if rarer > 0 && rarer * 20 < total.labelled() {
            self.warnings.push(format!(
                "the classes are far from balanced: {} background and {} nucleus pixels; draw more of the rarer one",
                total.background, total.foreground
            ));
        }
        if total.background == 0 || total.foreground == 0 {
            self.problems.push(format!(
                "the training images have {} background and {} nucleus pixels labelled, expected some of both",
                total.background, total.foreground
            ));
        }
    }

    /// The same picture in two splits makes scores too good; twice in one split it counts twice.
    fn judge_duplicates(&mut self) {
        let mut by_hash = BTreeMap::<&str, Vec<&ImageAudit>>::new();
        self.images.iter().for_each(|image| by_hash.entry(&image.pixels_sha256).or_default().push(image));
        let mut found = (Vec::new(), Vec::new());
        for same in by_hash.values().filter(|same| same.len() > 1) {
            let names: Vec<String> = same.iter().map(|image| format!("{} ({})", image.id, image.split)).collect();
            let crosses = same.iter().any(|image| image.split != same[0].split);
            let text = format!("the same picture: {}", names.join(", "));
            if crosses { found.0.push(format!("{text}: in two splits, so scores would be too good")) } else { found.1.push(text) }
        }
        self.problems.extend(found.0);
        self.warnings.extend(found.1);
    }

    fn judge_splits(&mut self) {
        if !self.images.iter().any(|image| image.split == Split::Train) {
            self.problems.push("no training images: give some the split \"train\" in index.csv".into());
        }
    }

    /// Labelled pixels of a split.
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

fn listed(ids: &[&str], what: &str) -> Option<String> {
    (!ids.is_empty()).then(|| format!("{what}: {}", crate::data::abbreviated_list(ids)))
}

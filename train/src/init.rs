//! A commented configuration for a data folder, as a start (`train init`).

use std::path::PathBuf;

use rayon::prelude::*;
use support::{Result, bail, durable};

use crate::config::choice::choice;
use crate::config::{LabelMap, Profile, Validation};
use crate::data::Folder;
use crate::data::image_file::read_rgb;
use crate::data::modality::modality;

choice! {
    /// Program in which label images are drawn, which decides the meaning of their values.
    LabelProgram {
        /// This program: 0 background, 1 nucleus, 250 unlabelled.
        Train = "train",
        /// napari: 0 unlabelled, 1 background, 2 nucleus.
        Napari = "napari",
        /// ilastik with background as its first label: values as for napari.
        Ilastik = "ilastik",
        /// Labkit with background as its first label: values as for napari.
        Labkit = "labkit",
    }
}

impl LabelProgram {
    fn label_map(self) -> LabelMap {
        match self {
            Self::Train => LabelMap::default(),
            Self::Napari | Self::Ilastik | Self::Labkit => LabelMap { background: vec![1], foreground: vec![2], unlabelled: vec![0] },
        }
    }
}

/// Options of [`init`].
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Data folder with `images/` and optionally `scribbles/` and `labels/`.
    pub data: PathBuf,
    /// Configuration file to write; must not exist.
    pub out: PathBuf,
    /// Profile whose values are written.
    pub profile: Profile,
    /// Program that drew the label images in `scribbles/`.
    pub labels_from: LabelProgram,
    /// Write `index.csv` too; must not exist.
    pub index: bool,
}

/// Numbers of files in a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Images.
    pub images: usize,
    /// Scribble files.
    pub scribbles: usize,
    /// Instance label files.
    pub labels: usize,
}

/// Writes a configuration with the profile's values for the data folder, and `index.csv` if asked for.
pub fn init(options: &InitOptions) -> Result<Found> {
    if options.out.exists() {
        bail!("{}: the file exists already", options.out.display(); hint: "choose another file with --out");
    }
    let folder = Folder::open(&options.data)?;
    if options.index {
        write_index(&folder)?;
    }
    let mut config = options.profile.config();
    config.data.folder.clone_from(&options.data);
    config.data.label_map = options.labels_from.label_map();
    // Masks measure the score that matters, but many data folders have none.
    config.data.validation = if folder.labels.is_empty() { Validation::Scribbles } else { Validation::Masks };
    durable::write(&options.out, config.to_commented_toml().as_bytes())?;
    Ok(Found { images: folder.images.len(), scribbles: folder.scribbles.len(), labels: folder.labels.len() })
}

/// Writes `index.csv` with one row per image: id, empty split, modality estimated from the colours. An existing index is never replaced,
/// because its rows may be edited by hand.
fn write_index(folder: &Folder) -> Result<()> {
    let path = folder.path.join("index.csv");
    if folder.index.is_some() {
        bail!("{}: the index exists already", path.display(); hint: "leave --index out, or move the file away");
    }
    let row = |(id, image): (&String, &PathBuf)| Ok([id.clone(), String::new(), modality(&read_rgb(image, None)?.0).to_owned()]);
    let rows: Vec<Result<[String; 3]>> = folder.images.par_iter().map(row).collect();
    let rows: Vec<[String; 3]> = rows.into_iter().collect::<Result<_>>()?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["id", "split", "modality"])?;
    rows.iter().try_for_each(|row| writer.write_record(row))?;
    durable::write(&path, &writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

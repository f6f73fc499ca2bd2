//! `train init`: a commented configuration for a data folder, to start from.

use std::path::PathBuf;

use rayon::prelude::*;
use support::{Result, artifact, bail};

use crate::config::choice::choice;
use crate::config::{LabelMap, Profile, Validation, choice};
use crate::data::Folder;
use crate::data::image_file::read_rgb;
use crate::data::modality::modality;

choice! {
    /// Programs in which label images are drawn.
    Tool {
        /// This program: 0 background, 1 nucleus, 250 unlabelled.
        Train = "train",
        /// napari: 0 unlabelled, 1 background, 2 nucleus.
        Napari = "napari",
        /// ilastik, with background as its first label.
        Ilastik = "ilastik",
        /// Labkit, with background as its first label.
        Labkit = "labkit",
    }
}

impl Tool {
    fn label_map(self) -> LabelMap {
        match self {
            Self::Train => LabelMap::default(),
            Self::Napari | Self::Ilastik | Self::Labkit => LabelMap { background: vec![1], foreground: vec![2], unlabelled: vec![0] },
        }
    }
}

/// Arguments of `train init`.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// Data folder with images/ and, where there are any, scribbles/ and labels/.
    data: PathBuf,
    /// The file to write.
    #[arg(short, long, default_value = "run.toml")]
    out: PathBuf,
    /// Values to start from: default, scratch, paper or `paper_monuseg`.
    #[arg(long, default_value = "default", value_parser = choice::parse::<Profile>)]
    profile: Profile,
    /// Where label images in scribbles/ come from: train, napari, ilastik, labkit (there 0 is unlabelled, 1 background, 2 nucleus).
    #[arg(long, default_value = "train", value_parser = choice::parse::<Tool>)]
    labels_from: Tool,
    /// Write index.csv too: every image's id, an empty split to fill in, and the modality that its colours tell.
    #[arg(long)]
    index: bool,
}

/// Looks at the data folder and writes the configuration; what it returns goes to stdout.
pub fn run(arguments: &InitArgs) -> Result<String> {
    if arguments.out.exists() {
        bail!("{}: there is a file of this name", arguments.out.display(); hint: "choose another with --out");
    }
    let folder = Folder::open(&arguments.data)?;
    if arguments.index {
        write_index(&folder)?;
    }
    let mut config = arguments.profile.config();
    config.data.folder.clone_from(&arguments.data);
    config.data.label_map = arguments.labels_from.label_map();
    // Masks are the better judge, but most users have none.
    config.data.validation = if folder.labels.is_empty() { Validation::Scribbles } else { Validation::Masks };
    artifact::write(&arguments.out, config.to_commented_toml().as_bytes())?;
    let (images, scribbles, labels) = (folder.images.len(), folder.scribbles.len(), folder.labels.len());
    Ok(format!(
        "{images} images, {scribbles} with scribbles, {labels} with masks; wrote {out}\nnext: train check {out}\n",
        out = arguments.out.display()
    ))
}

/// A row for each image; rows that are there already may be somebody's work.
fn write_index(folder: &Folder) -> Result<()> {
    let path = folder.path.join("index.csv");
    if folder.index.is_some() {
        bail!("{}: there is an index already", path.display(); hint: "leave --index out, or move the file away");
    }
    let row = |(id, image): (&String, &PathBuf)| Ok([id.clone(), String::new(), modality(&read_rgb(image)?.0).to_owned()]);
    let rows: Vec<Result<[String; 3]>> = folder.images.par_iter().map(row).collect();
    let rows: Vec<[String; 3]> = rows.into_iter().collect::<Result<_>>()?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["id", "split", "modality"])?;
    rows.iter().try_for_each(|row| writer.write_record(row))?;
    artifact::write(&path, &writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

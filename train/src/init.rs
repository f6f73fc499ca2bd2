//! `train init`: a commented configuration for a data folder, to start from.

use std::path::PathBuf;

use models::{Result, artifact, bail};

use crate::config::{ColourChange, Profile, Validation, choice};
use crate::data::Folder;
use crate::data::image_file::read_rgb;

/// Arguments of `train init`.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// Data folder with images/ and, where there are any, scribbles/ and labels/.
    data: PathBuf,
    /// The file to write.
    #[arg(short, long, default_value = "run.toml")]
    out: PathBuf,
    /// Values to start from: default or paper.
    #[arg(long, default_value = "default", value_parser = choice::parse::<Profile>)]
    profile: Profile,
}

/// Looks at the data folder and writes the configuration; what it returns goes to stdout.
pub fn run(arguments: &InitArgs) -> Result<String> {
    if arguments.out.exists() {
        bail!("{}: there is a file of this name", arguments.out.display(); hint: "choose another with --out");
    }
    let folder = Folder::open(&arguments.data)?;
    let mut config = arguments.profile.config();
    config.data.folder.clone_from(&arguments.data);
    // Masks are the better judge, but most users have none.
    config.data.validation = if folder.labels.is_empty() { Validation::Scribbles } else { Validation::Masks };
    let first = folder.images.values().next().expect("an opened folder has images");
    let (image, _) = read_rgb(first)?;
    let is_grey = image.data.as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b);
    config.data.augment = if is_grey { ColourChange::Brightness } else { ColourChange::ColourJitter };
    artifact::write(&arguments.out, config.to_commented_toml().as_bytes())?;
    let (images, scribbles, labels) = (folder.images.len(), folder.scribbles.len(), folder.labels.len());
    Ok(format!(
        "{images} images, {scribbles} with scribbles, {labels} with masks; wrote {out}\nnext: train check {out}\n",
        out = arguments.out.display()
    ))
}

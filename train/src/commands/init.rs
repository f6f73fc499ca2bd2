//! `train init`

use std::path::PathBuf;

use clap::Args;
use support::{Result, print_line};
use train::config::Profile;
use train::init::{InitOptions, LabelProgram, init};

use super::arguments::choice;

#[derive(Args)]
pub struct InitArgs {
    /// Data folder with images/ and optionally scribbles/ and labels/
    data: PathBuf,
    /// Write the configuration to this file
    #[arg(short, long, value_name = "FILE", default_value = "run.toml")]
    out: PathBuf,
    /// Start from the values of a profile: default, scratch, paper, paper_monuseg
    #[arg(long, default_value = "default", value_parser = choice::<Profile>)]
    profile: Profile,
    /// Read label images in scribbles/ as drawn in train, napari, ilastik or labkit (0 unlabelled, 1 background, 2 nucleus in the last three)
    #[arg(long, value_name = "PROGRAM", default_value = "train", value_parser = choice::<LabelProgram>)]
    labels_from: LabelProgram,
    /// Write index.csv too, with every image's id, an empty split and the modality estimated from its colours
    #[arg(long)]
    index: bool,
}

pub fn run(args: InitArgs) -> Result<()> {
    let InitArgs { data, out, profile, labels_from, index } = args;
    let options = InitOptions { data, out, profile, labels_from, index };
    let found = init(&options)?;
    let out = options.out.display();
    print_line!("{} images, {} with scribbles, {} with masks; wrote {out}", found.images, found.scribbles, found.labels);
    print_line!("next: train check {out}");
    Ok(())
}

//! `train compare`

use std::path::PathBuf;

use clap::Args;
use support::{Result, print_text};
use train::compare::{CompareOptions, compare};
use train::data::Split;

use super::arguments::{DeviceArgs, choice};

#[derive(Args)]
pub struct CompareArgs {
    /// Data folder with images/ and labels/
    data: PathBuf,
    /// Folders of runs, or checkpoints; differences are relative to the first
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Write compare.html, scores.csv and figures/ to this folder
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Name the runs, in their order [default: names of their folders]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    names: Vec<String>,
    /// Compare only on images of this split: train, val or test [default: all]
    #[arg(long, value_parser = choice::<Split>)]
    split: Option<Split>,
    /// Compare only on images of this modality [default: all]
    #[arg(long)]
    modality: Option<String>,
    /// Show this number of images on the page, evenly from the best to the worst IoU of the last run
    #[arg(long, default_value_t = 6)]
    images: usize,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: CompareArgs) -> Result<()> {
    let options = CompareOptions {
        data: args.data,
        runs: args.runs,
        out: args.out,
        names: args.names,
        split: args.split,
        modality: args.modality,
        images: args.images,
        device: args.device.device,
    };
    print_text!("{}", compare(&options)?);
    Ok(())
}

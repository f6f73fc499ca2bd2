//! `train evaluate`

use std::path::PathBuf;

use clap::Args;
use support::{Result, print_line, print_text};
use train::config::Views;
use train::data::Split;
use train::evaluate::{EvaluateOptions, evaluate};

use super::arguments::{DeviceArgs, choice};

#[derive(Args)]
pub struct EvaluateArgs {
    /// Folder of a run (for its best.safetensors), or a checkpoint
    run: PathBuf,
    /// Data folder with images/ and labels/
    data: PathBuf,
    /// Score only images of this split: train, val or test [default: all]
    #[arg(long, value_parser = choice::<Split>)]
    split: Option<Split>,
    /// Score only images of this modality [default: all]
    #[arg(long)]
    modality: Option<String>,
    /// Write an overlay of every image to this folder
    #[arg(long, value_name = "DIR")]
    overlays: Option<PathBuf>,
    /// Average predictions over views of each image: one, flips or all [default: from the run's configuration]
    #[arg(long, value_parser = choice::<Views>)]
    views: Option<Views>,
    /// Split touching nuclei: true or false [default: from the run's configuration]
    #[arg(long, value_name = "BOOL")]
    split_touching: Option<bool>,
    /// Take pixels above this probability as nucleus [default: as fitted by the run, or from its configuration]
    #[arg(long, value_name = "PROBABILITY", value_parser = probability)]
    threshold: Option<f64>,
    /// Drop components smaller than this area in pixels [default: as fitted by the run, or from its configuration]
    #[arg(long, value_name = "PIXELS")]
    min_area_px: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

pub fn run(args: EvaluateArgs) -> Result<()> {
    let options = EvaluateOptions {
        split: args.split,
        modality: args.modality,
        overlays: args.overlays,
        views: args.views,
        split_touching: args.split_touching,
        threshold: args.threshold,
        min_area_px: args.min_area_px,
        device: args.device.device,
    };
    let evaluation = evaluate(&args.run, &args.data, &options)?;
    if args.json {
        print_line!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        print_text!("{}", evaluation.to_text());
    }
    Ok(())
}

fn probability(text: &str) -> std::result::Result<f64, String> {
    let value = text.parse().ok().filter(|p| (0.0..1.0).contains(p));
    value.ok_or_else(|| format!("expected a probability from 0 to below 1, found {text:?}"))
}

//! `train suggest`

use std::path::PathBuf;

use clap::Args;
use support::{Result, print_line, print_text};
use train::suggest::{SuggestOptions, suggest, to_text};

use super::arguments::DeviceArgs;

#[derive(Args)]
pub struct SuggestArgs {
    /// Folder of the run
    run: PathBuf,
    /// Write maps/ID.png, regions.csv and ID.geojson to this folder
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Suggest at most this number of regions
    #[arg(long, default_value_t = 20)]
    count: usize,
    /// Set the side of the square regions in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=4096))]
    side: u32,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: SuggestArgs) -> Result<()> {
    let options = SuggestOptions { run: args.run, out: args.out, count: args.count, side: args.side as usize, device: args.device.device };
    let regions = suggest(&options)?;
    print_text!("{}", to_text(&regions));
    print_line!("wrote {}", options.out.display());
    print_line!("next: draw strokes in these regions, then train fit --from {} -o NEW_RUN", options.run.display());
    Ok(())
}

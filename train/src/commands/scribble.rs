//! `train scribble`

use std::path::PathBuf;

use clap::Args;
use support::{Result, bail, print_text};
use train::make_scribbles::{Kind, summary, write_scribbles};

#[derive(Args)]
pub struct ScribbleArgs {
    /// Data folder with images/ and labels/; scribbles/ is written there
    data: PathBuf,
    /// Make the papers' automatic scribbles from this fraction of the skeletons, in per cent (papers: 10, 30, 50, 100)
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100), required_unless_present = "strokes", conflicts_with = "strokes")]
    ratio: Option<u32>,
    /// Simulate strokes: curves along nuclei and through the background
    #[arg(long)]
    strokes: bool,
    /// Set the fraction of nuclei that get a simulated stroke, 0 to 1
    #[arg(long, value_name = "FRACTION", default_value_t = 0.5, requires = "strokes")]
    share: f64,
    /// Seed the scribbles; those of an image depend on this and on its id only
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace existing scribbles
    #[arg(long)]
    overwrite: bool,
}

pub fn run(args: &ScribbleArgs) -> Result<()> {
    if !(0.0..=1.0).contains(&args.share) {
        bail!("--share: expected 0 to 1, found {}", args.share);
    }
    let kind = args.ratio.map_or(Kind::Strokes(args.share), Kind::Auto);
    let counts = write_scribbles(&args.data, kind, args.seed, args.overwrite)?;
    print_text!("{}", summary(kind, &counts));
    Ok(())
}

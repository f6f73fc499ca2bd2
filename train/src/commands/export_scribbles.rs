//! `train export-scribbles`

use std::path::PathBuf;

use clap::Args;
use support::{Result, print_line};
use train::config::{Profile, RunConfig};
use train::export_scribbles::export_scribbles;

#[derive(Args)]
pub struct ExportScribblesArgs {
    /// Data folder with images/ and scribbles/
    data: PathBuf,
    /// Write ID.geojson to this folder
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Take label map and class names from this configuration (TOML) [default: built-in]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, for example --set data.label_map.unlabelled=[0]; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
}

pub fn run(args: &ExportScribblesArgs) -> Result<()> {
    let config = match &args.config {
        Some(path) => RunConfig::load(path, Profile::Scratch, &args.sets)?,
        None => RunConfig::from_toml("", Profile::Scratch, &args.sets)?,
    };
    let images = export_scribbles(&args.data, &config.data, &args.out)?;
    print_line!("{images} images; wrote {}", args.out.display());
    Ok(())
}

//! `train export-scribbles`: scribbles of any kind as GeoJSON, to look at and go on drawing in QuPath.

use std::path::PathBuf;

use support::{Result, artifact, bail};

use crate::config::{Profile, RunConfig};
use crate::data::image_file::dimensions;
use crate::data::{Folder, read_scribble};
use crate::scribble::export::to_geojson;

/// Options of `train export-scribbles`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// Data folder with images/ and scribbles/
    pub data: PathBuf,
    /// Folder to write ID.geojson to
    #[arg(short, long)]
    pub out: PathBuf,
    /// A run's configuration, for its label map and class names
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Change one value, for example `--set data.label_map.unlabelled=[0]`
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
}

/// Writes one file for every image with scribbles; returns what to print.
pub fn run(args: &ExportArgs) -> Result<String> {
    let config = match &args.config {
        Some(path) => RunConfig::load(path, Profile::Scratch, &args.sets)?,
        None => RunConfig::from_toml("", Profile::Scratch, &args.sets)?,
    };
    let folder = Folder::open(&args.data)?;
    let scribbled: Vec<_> = folder.scribbles.iter().filter(|(id, _)| folder.images.contains_key(*id)).collect();
    if scribbled.is_empty() {
        bail!("{}: no scribbles found for the images", args.data.join("scribbles").display(); hint: "there is nothing to export");
    }
    for (id, path) in &scribbled {
        let (width, height) = dimensions(&folder.images[*id])?;
        let map = read_scribble(path, width, height, &config.data)?;
        artifact::write(&args.out.join(format!("{id}.geojson")), to_geojson(&map, &config.data.geojson).as_bytes())?;
    }
    Ok(format!("{} images; wrote {}\n", scribbled.len(), args.out.display()))
}

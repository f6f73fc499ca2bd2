//! Scribbles of any format as GeoJSON, to view and edit in QuPath (`train export-scribbles`).

use std::path::Path;

use support::durable::OutputFolder;
use support::{Result, bail};

use crate::config::DataConfig;
use crate::data::image_file::dimensions;
use crate::data::{Folder, read_scribble};
use crate::scribble::export::to_geojson;

/// Writes `ID.geojson` to `out` for every image with scribbles in the data folder `data`; returns their number. `config` gives the label
/// map and the class names.
pub fn export_scribbles(data: &Path, config: &DataConfig, out: &Path) -> Result<usize> {
    let folder = Folder::open(data)?;
    let scribbled: Vec<_> = folder.scribbles.iter().filter(|(id, _)| folder.images.contains_key(*id)).collect();
    if scribbled.is_empty() {
        bail!("{}: no scribbles found for the images", data.join("scribbles").display(); hint: "file names without extension must match those in images/");
    }
    let [images, scribbles, labels] = Folder::parts(data);
    let mut out = OutputFolder::open(out, "train export-scribbles", &[&images, &scribbles, &labels])?;
    scribbled.iter().try_for_each(|(id, _)| out.check(&format!("{id}.geojson")))?;
    for (id, path) in &scribbled {
        let (width, height) = dimensions(&folder.images[*id])?;
        let map = read_scribble(path, width, height, config)?;
        out.write(&format!("{id}.geojson"), to_geojson(&map, &config.geojson).as_bytes())?;
    }
    Ok(scribbled.len())
}

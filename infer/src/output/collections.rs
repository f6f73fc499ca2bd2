//! GeoJSON files of a slide: one for all nuclei, or one per square shard.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use support::Result;
use support::durable::AtomicFile;

use super::geojson::Collection;
use super::{Files, Frame, Nucleus};

/// Maximum number of shards of a slide; the files of a row of shards are open at the same time.
pub const MAX_SHARDS: u64 = 4096;

/// Options of GeoJSON outlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Outlines {
    /// Side of a shard in level-0 pixels; by default, one file for all nuclei.
    pub shard_px: Option<u32>,
    /// Tolerance of simplified outlines in pixels at the model's scale; 0 for exact outlines.
    pub simplify_px: f64,
}

/// Writer of features to the shard that contains their centroid.
pub struct Collections {
    side: Option<f64>,
    folder: PathBuf,
    /// Open files by row and column of their shard; (0, 0) without shards.
    open: BTreeMap<(u64, u64), Collection>,
    done: Vec<AtomicFile>,
}

impl Collections {
    /// Creates the file of all nuclei; files of shards are created with their first feature.
    pub fn new(files: &Files, outlines: &Outlines) -> Result<Self> {
        let mut open = BTreeMap::new();
        if outlines.shard_px.is_none() {
            open.insert((0, 0), Collection::new(files.create("nuclei.geojson.gz")?)?);
        }
        Ok(Self { side: outlines.shard_px.map(f64::from), folder: files.folder().to_owned(), open, done: Vec::new() })
    }

    /// Adds the feature of a nucleus.
    pub fn add(&mut self, nucleus: &Nucleus, feature: &str) -> Result<()> {
        let Some(side) = self.side else {
            return self.open.get_mut(&(0, 0)).map_or(Ok(()), |collection| collection.add(feature));
        };
        let [column, row] = nucleus.centroid_px.map(|at| (at / side).max(0.0) as u64);
        if !self.open.contains_key(&(row, column)) {
            let side = side as u64;
            let name = format!("nuclei_x{}_y{}.geojson.gz", column * side, row * side);
            self.open.insert((row, column), Collection::new(AtomicFile::create(&self.folder.join(name))?)?);
        }
        self.open.get_mut(&(row, column)).map_or(Ok(()), |collection| collection.add(feature))
    }

    /// Finishes the files of shards above image row `row`, because no later nucleus has a pixel there.
    pub fn settle(&mut self, row: usize, frame: &Frame) -> Result<()> {
        let Some(side) = self.side else { return Ok(()) };
        let [_, y] = frame.slide_from_model([0.0, row as f64]);
        while let Some(first) = self.open.first_entry() {
            if (first.key().0 + 1) as f64 * side > y {
                break;
            }
            self.done.push(first.remove().finish()?);
        }
        Ok(())
    }

    /// Finishes all files and returns them from top to bottom.
    pub fn finish(mut self) -> Result<Vec<AtomicFile>> {
        for collection in self.open.into_values() {
            self.done.push(collection.finish()?);
        }
        Ok(self.done)
    }
}

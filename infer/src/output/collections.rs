//! The GeoJSON files of a slide: one, or one for each square of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use support::Result;
use support::artifact::AtomicFile;

use super::geojson::Collection;
use super::{Files, Frame, Nucleus};

/// The most files that a slide may be cut into: each is open while its squares are passed.
pub const MOST_SHARDS: u64 = 4096;

/// How nuclei are written as GeoJSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Outlines {
    /// Side in level-0 pixels of the squares that have a file each; `None`: one file for all.
    pub shard_px: Option<u32>,
    /// Corners of rings may be left out that lie so many pixels (at the model's scale) from the lines between others; 0: rings are exact.
    pub simplify_px: f64,
}

/// Writes features to the file of the square in which their centroid lies.
pub struct Collections {
    side: Option<f64>,
    folder: PathBuf,
    /// By row and column; with one file for all only 0, 0.
    open: BTreeMap<(u64, u64), Collection>,
    done: Vec<AtomicFile>,
}

impl Collections {
    /// Starts the one file, or none yet.
    pub fn new(files: &Files, outlines: &Outlines) -> Result<Self> {
        let mut open = BTreeMap::new();
        if outlines.shard_px.is_none() {
            open.insert((0, 0), Collection::new(files.create("nuclei.geojson.gz")?)?);
        }
        Ok(Self { side: outlines.shard_px.map(f64::from), folder: files.folder().to_owned(), open, done: Vec::new() })
    }

    /// Adds a feature.
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

    /// No later nucleus has a pixel above row `row` of the image: files of squares above it are ended.
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

    /// Ends all files, those above first.
    pub fn finish(mut self) -> Result<Vec<AtomicFile>> {
        for collection in self.open.into_values() {
            self.done.push(collection.finish()?);
        }
        Ok(self.done)
    }
}

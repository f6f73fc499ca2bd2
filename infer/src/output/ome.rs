//! `labels.ome.tif`: the number of the nucleus at every pixel, as a 32-bit OME-TIFF pyramid, for slides of any size.

use support::Result;
use support::durable::AtomicFile;

use super::unsettled::Unsettled;
use crate::instances::Instance;
use crate::pyramid::PyramidWriter;

/// Streaming writer of 32-bit labels.
pub struct OmeLabels {
    pyramid: PyramidWriter,
    height: usize,
    rows: Unsettled<u32>,
}

impl OmeLabels {
    /// Returns the writer of an image of `width` columns and `height` rows, with pixel sides of `um_per_pixel`.
    pub fn new(file: AtomicFile, width: usize, height: usize, um_per_pixel: Option<[f64; 2]>) -> Result<Self> {
        Ok(Self { pyramid: PyramidWriter::of_labels(file, width, height, um_per_pixel)?, height, rows: Unsettled::new(width) })
    }

    /// Adds the pixels of a nucleus.
    pub fn add(&mut self, instance: &Instance) {
        self.rows.add(&instance.runs, instance.id as u32);
    }

    /// Writes the rows above `row`, which no later nucleus changes.
    pub fn settle(&mut self, row: usize) -> Result<()> {
        while let Some(rows) = self.rows.next_before(row) {
            self.pyramid.push(&rows.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>())?;
        }
        Ok(())
    }

    /// Writes the remaining rows and finishes the file.
    pub fn finish(mut self) -> Result<AtomicFile> {
        self.settle(self.height)?;
        self.pyramid.finish()
    }
}

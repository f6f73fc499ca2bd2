//! `mask.tif`: 255 in nuclei, 0 elsewhere. A row is written once no later nucleus can change it.

use support::Result;
use support::durable::AtomicFile;

use super::unsettled::Unsettled;
use crate::instances::Run;
use crate::pyramid::PyramidWriter;

/// Streaming writer of the mask.
pub struct MaskWriter {
    pyramid: PyramidWriter,
    height: usize,
    rows: Unsettled<u8>,
}

impl MaskWriter {
    /// Returns the writer of a mask of `width` columns and `height` rows into `pyramid`.
    pub fn new(pyramid: PyramidWriter, width: usize, height: usize) -> Self {
        Self { pyramid, height, rows: Unsettled::new(width) }
    }

    /// Adds the pixels of a nucleus.
    pub fn add(&mut self, runs: &[Run]) {
        self.rows.add(runs, 255);
    }

    /// Writes the rows above `row`, which no later nucleus changes.
    pub fn settle(&mut self, row: usize) -> Result<()> {
        while let Some(rows) = self.rows.next_before(row) {
            self.pyramid.push(&rows)?;
        }
        Ok(())
    }

    /// Writes the remaining rows and finishes the file.
    pub fn finish(mut self) -> Result<AtomicFile> {
        self.settle(self.height)?;
        self.pyramid.finish()
    }
}

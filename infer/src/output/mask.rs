//! `mask.tif`: 255 where a nucleus is, 0 elsewhere; rows are written once no later nucleus can change them.

use support::Result;
use support::artifact::AtomicFile;

use super::pyramid::PyramidWriter;
use super::unsettled::Unsettled;
use crate::instances::Run;

/// Writes rows as they are settled.
pub struct MaskWriter {
    pyramid: PyramidWriter,
    height: usize,
    rows: Unsettled<u8>,
}

impl MaskWriter {
    /// A mask of `width * height` pixels into `pyramid`.
    pub fn new(pyramid: PyramidWriter, width: usize, height: usize) -> Self {
        Self { pyramid, height, rows: Unsettled::new(width) }
    }

    /// Adds the pixels of a nucleus.
    pub fn add(&mut self, runs: &[Run]) {
        self.rows.add(runs, 255);
    }

    /// Rows above `row` will not change any more.
    pub fn settle(&mut self, row: usize) -> Result<()> {
        while let Some(rows) = self.rows.next_before(row) {
            self.pyramid.push(&rows)?;
        }
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<AtomicFile> {
        self.settle(self.height)?;
        self.pyramid.finish()
    }
}

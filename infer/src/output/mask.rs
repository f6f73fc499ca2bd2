//! `mask.tif`: 255 where a nucleus is, 0 elsewhere; rows are written once no later nucleus can change them.

use std::collections::VecDeque;

use models::Result;
use models::artifact::AtomicFile;

use super::pyramid::PyramidWriter;
use crate::instances::Run;

/// Rows written at once.
const ROWS: usize = 64;

/// Holds the runs of rows that are not settled yet.
pub struct MaskWriter {
    pyramid: PyramidWriter,
    width: usize,
    height: usize,
    /// The row of the first entry of `unsettled`.
    first: usize,
    unsettled: VecDeque<Vec<(u32, u32)>>,
}

impl MaskWriter {
    /// A mask of `width * height` pixels into `pyramid`.
    pub fn new(pyramid: PyramidWriter, width: usize, height: usize) -> Self {
        Self { pyramid, width, height, first: 0, unsettled: VecDeque::new() }
    }

    /// Adds the pixels of a nucleus.
    pub fn add(&mut self, runs: &[Run]) {
        for run in runs {
            let at = run.y as usize - self.first;
            if self.unsettled.len() <= at {
                self.unsettled.resize(at + 1, Vec::new());
            }
            self.unsettled[at].push((run.x0, run.x1));
        }
    }

    /// Rows above `row` will not change any more.
    pub fn settle(&mut self, row: usize) -> Result<()> {
        while self.first < row {
            let count = (row - self.first).min(ROWS);
            let mut rows = vec![0; count * self.width];
            for y in 0..count {
                for (x0, x1) in self.unsettled.pop_front().unwrap_or_default() {
                    rows[y * self.width + x0 as usize..y * self.width + x1 as usize].fill(255);
                }
            }
            self.pyramid.push(&rows)?;
            self.first += count;
        }
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<AtomicFile> {
        self.settle(self.height)?;
        self.pyramid.finish()
    }
}

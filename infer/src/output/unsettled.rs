//! Rows of an output image that later nuclei may still change.

use std::collections::VecDeque;

use crate::instances::Run;

/// Maximum number of rows returned at once.
const ROWS_PER_READ: usize = 64;

/// Runs of rows that are not written yet, each with the value of its pixels; other pixels are 0.
pub struct Unsettled<T> {
    width: usize,
    /// Image row of the first entry of `rows`.
    first: usize,
    rows: VecDeque<Vec<(u32, u32, T)>>,
}

impl<T: Copy + Default> Unsettled<T> {
    /// Returns an empty buffer for rows of `width` pixels.
    pub fn new(width: usize) -> Self {
        Self { width, first: 0, rows: VecDeque::new() }
    }

    /// Adds the pixels of a nucleus.
    ///
    /// # Panics
    /// If a pixel lies in a row that was already returned.
    pub fn add(&mut self, runs: &[Run], value: T) {
        for run in runs {
            let at = run.y as usize - self.first;
            if self.rows.len() <= at {
                self.rows.resize(at + 1, Vec::new());
            }
            self.rows[at].push((run.x0, run.x1, value));
        }
    }

    /// Removes and returns the next rows before `end`, at most 64 at once; `None` if there are no more.
    pub fn next_before(&mut self, end: usize) -> Option<Vec<T>> {
        let count = end.saturating_sub(self.first).min(ROWS_PER_READ);
        if count == 0 {
            return None;
        }
        let mut pixels = vec![T::default(); count * self.width];
        for y in 0..count {
            for (x0, x1, value) in self.rows.pop_front().unwrap_or_default() {
                pixels[y * self.width + x0 as usize..y * self.width + x1 as usize].fill(value);
            }
        }
        self.first += count;
        Some(pixels)
    }
}

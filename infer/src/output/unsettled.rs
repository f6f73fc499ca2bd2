//! Rows that a later nucleus may still change.

use std::collections::VecDeque;

use crate::instances::Run;

/// Rows given out at once.
const ROWS: usize = 64;

/// Runs of rows that are not settled yet, each with a value; 0 elsewhere.
pub struct Unsettled<T> {
    width: usize,
    /// The row of the first entry of `rows`.
    first: usize,
    rows: VecDeque<Vec<(u32, u32, T)>>,
}

impl<T: Copy + Default> Unsettled<T> {
    /// Rows of `width` pixels.
    pub fn new(width: usize) -> Self {
        Self { width, first: 0, rows: VecDeque::new() }
    }

    /// Adds the pixels of a nucleus; none of them lies in a row that was given out.
    pub fn add(&mut self, runs: &[Run], value: T) {
        for run in runs {
            let at = run.y as usize - self.first;
            if self.rows.len() <= at {
                self.rows.resize(at + 1, Vec::new());
            }
            self.rows[at].push((run.x0, run.x1, value));
        }
    }

    /// The next rows before `end`, a few at a time; `None`: there are no more.
    pub fn next_before(&mut self, end: usize) -> Option<Vec<T>> {
        let count = end.saturating_sub(self.first).min(ROWS);
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

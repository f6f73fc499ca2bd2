//! The rows of a map that somebody will still read.

use std::ops::Range;

use kernels::{Buffer, Pool};

/// Rows that buffers are made for beside new ones: what is kept of most maps.
const FEW: usize = 4;

/// Some consecutive rows of a map, which grows downwards and is forgotten from above.
pub struct Slab {
    /// Values of a row.
    row: usize,
    /// The rows that are there, by their place in the map.
    rows: Range<usize>,
    /// Where they are while rows are added or many are kept, and how many forgotten ones lie before them.
    buffer: Option<(Buffer, usize)>,
    /// Where they are otherwise: some rows are all that is kept of most maps, and buffers serve others meanwhile.
    few: Vec<f32>,
}

impl Slab {
    /// No rows yet, of so many values each.
    pub fn new(row: usize) -> Self {
        Self { row, rows: 0..0, buffer: None, few: Vec::new() }
    }

    /// How many rows there have been.
    pub fn end(&self) -> usize {
        self.rows.end
    }

    /// Values of some rows.
    ///
    /// # Panics
    /// If they are not there.
    pub fn get(&self, rows: Range<usize>) -> &[f32] {
        assert!(self.rows.start <= rows.start && rows.end <= self.rows.end, "{rows:?} of a map with {:?}", self.rows);
        let (values, before) = match &self.buffer {
            Some((buffer, before)) => (&**buffer, *before),
            None => (self.few.as_slice(), 0),
        };
        &values[(before + rows.start - self.rows.start) * self.row..][..rows.len() * self.row]
    }

    /// Room for further rows, with arbitrary values. Buffers are made for `most` of them, so that all turns ask for the same.
    pub fn extend(&mut self, pool: &Pool, count: usize, most: usize) -> &mut [f32] {
        let (live, row) = (self.rows.len(), self.row);
        let fits = |buffer: &Buffer, before: usize| (before + live + count) * row <= buffer.len();
        match &mut self.buffer {
            Some((buffer, before)) if fits(buffer, *before) => {}
            Some((buffer, before)) if fits(buffer, 0) => {
                buffer.copy_within(*before * row..(*before + live) * row, 0);
                *before = 0;
            }
            _ => {
                let mut longer = pool.take((live.max(FEW) + most.max(count)) * row);
                longer[..live * row].copy_from_slice(self.get(self.rows.clone()));
                self.few.clear();
                if let Some((buffer, _)) = self.buffer.replace((longer, 0)) {
                    pool.give(buffer);
                }
            }
        }
        self.rows.end += count;
        let (buffer, before) = self.buffer.as_mut().expect("it was made above");
        &mut buffer[(*before + live) * row..][..count * row]
    }

    /// Forgets the rows before `first`.
    pub fn keep_from(&mut self, pool: &Pool, first: usize) {
        let first = first.clamp(self.rows.start, self.rows.end);
        let forgotten = first - self.rows.start;
        let Some((buffer, before)) = &mut self.buffer else {
            self.few.drain(..forgotten * self.row);
            self.rows.start = first;
            return;
        };
        *before += forgotten;
        self.rows.start = first;
        let live = *before * self.row..(*before + self.rows.len()) * self.row;
        if 4 * live.len() <= buffer.len() {
            self.few.extend_from_slice(&buffer[live]);
            self.drop_buffer(pool);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self, pool: &Pool) {
        self.few.clear();
        self.rows.start = self.rows.end;
        self.drop_buffer(pool);
    }

    fn drop_buffer(&mut self, pool: &Pool) {
        if let Some((buffer, _)) = self.buffer.take() {
            pool.give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_there_until_they_are_forgotten() {
        let (pool, mut slab) = (Pool::new(), Slab::new(3));
        // Of 5 rows a time, few or many are kept.
        for kept in [0, 1, 2, 7, 30, 12, 1, 5, 5, 5, 0, 3] {
            let first = slab.end();
            let new = slab.extend(&pool, 5, 5);
            new.iter_mut().enumerate().for_each(|(i, v)| *v = (first * 3 + i) as f32);
            slab.keep_from(&pool, slab.end().saturating_sub(kept));
            let rows = slab.rows.clone();
            assert!(rows.len() <= kept && rows.end == first + 5);
            let values: Vec<f32> = (rows.start * 3..rows.end * 3).map(|i| i as f32).collect();
            assert_eq!(slab.get(rows.clone()), values);
            assert!(slab.get(rows.end..rows.end).is_empty());
        }
        slab.clear(&pool);
        assert!(slab.get(slab.end()..slab.end()).is_empty());
    }

    #[test]
    #[should_panic(expected = "0..1 of a map with 3..5")]
    fn a_forgotten_row_is_not_read() {
        let (pool, mut slab) = (Pool::new(), Slab::new(1));
        slab.extend(&pool, 5, 5);
        slab.keep_from(&pool, 3);
        slab.get(0..1);
    }
}

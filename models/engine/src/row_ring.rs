//! Ring buffer of the rows of a feature map that later blocks still read.

use std::ops::{Deref, Range};

use kernels::{Buffer, Pool};

/// Least number of retained rows that a new buffer has room for: most feature maps retain no more.
const MIN_RETAINED_ROWS: usize = 4;

/// Consecutive rows of a feature map. New rows are appended at the end and old rows are discarded at the start.
pub struct RowRing {
    /// Number of values per row.
    row_len: usize,
    /// Rows held at present, by their number in the feature map.
    rows: Range<usize>,
    /// Storage while rows are appended or many rows are retained.
    ring: Option<Ring>,
    /// Storage at other times: while no ring is allocated, retained rows live in a compact copy so that the ring's buffer can be reused.
    compact: Vec<f32>,
}

/// Circular buffer of rows.
struct Ring {
    buffer: Buffer,
    /// Number of the row in slot 0 of the first lap. A multiple of four, like `length`, so that contiguous pieces end at tile boundaries.
    base: usize,
    /// Capacity in rows.
    length: usize,
}

impl Ring {
    /// Returns the slot of a row, and the number of slots from there to the end of the buffer.
    fn slot(&self, row: usize) -> (usize, usize) {
        let slot = (row - self.base) % self.length;
        (slot, self.length - slot)
    }
}

/// Contiguous values of some rows.
pub struct Rows<'a> {
    values: &'a [f32],
    /// Copy of the rows, if they wrap around the end of the ring; its buffer returns to the pool.
    copied: Option<(Buffer, &'a Pool)>,
}

impl Deref for Rows<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        self.copied.as_ref().map_or(self.values, |(buffer, _)| buffer)
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        if let Some((buffer, pool)) = self.copied.take() {
            pool.give(buffer);
        }
    }
}

impl RowRing {
    /// Returns an empty ring for rows of `row_len` values.
    pub fn new(row_len: usize) -> Self {
        Self { row_len, rows: 0..0, ring: None, compact: Vec::new() }
    }

    /// Returns the number of rows appended so far, including discarded rows.
    pub fn end(&self) -> usize {
        self.rows.end
    }

    /// Returns the values of some rows.
    ///
    /// # Panics
    /// If a row is discarded or not yet appended.
    pub fn get<'a>(&'a self, pool: &'a Pool, rows: Range<usize>) -> Rows<'a> {
        assert!(self.rows.start <= rows.start && rows.end <= self.rows.end, "rows {rows:?} of a ring with rows {:?}", self.rows);
        let len = rows.len() * self.row_len;
        let Some(ring) = &self.ring else {
            return Rows { values: &self.compact[(rows.start - self.rows.start) * self.row_len..][..len], copied: None };
        };
        let (slot, until_end) = ring.slot(rows.start);
        if rows.len() <= until_end {
            return Rows { values: &ring.buffer[slot * self.row_len..][..len], copied: None };
        }
        let mut copy = pool.take(len);
        self.copy(rows, &mut copy);
        Rows { values: &[], copied: Some((copy, pool)) }
    }

    /// Copies rows, which may wrap around the end of the ring.
    fn copy(&self, rows: Range<usize>, to: &mut [f32]) {
        let Some(ring) = &self.ring else {
            to.copy_from_slice(&self.compact[(rows.start - self.rows.start) * self.row_len..][..rows.len() * self.row_len]);
            return;
        };
        let (slot, until_end) = ring.slot(rows.start);
        let (first, second) = to.split_at_mut(rows.len().min(until_end) * self.row_len);
        first.copy_from_slice(&ring.buffer[slot * self.row_len..][..first.len()]);
        second.copy_from_slice(&ring.buffer[..second.len()]);
    }

    /// Allocates room for `new_rows` further rows beside the present rows, or beside `retained` rows if these are more.
    pub fn reserve(&mut self, pool: &Pool, retained: usize, new_rows: usize) {
        let present = self.rows.len();
        if self.ring.as_ref().is_some_and(|ring| present + new_rows <= ring.length) {
            return;
        }
        let base = self.rows.start / 4 * 4;
        // Slots between the base and the first row are part of the length, because the base is aligned.
        let length = (self.rows.start - base + present.max(retained).max(MIN_RETAINED_ROWS) + new_rows).next_multiple_of(4);
        let mut buffer = pool.take(length * self.row_len);
        self.copy(self.rows.clone(), &mut buffer[(self.rows.start - base) * self.row_len..][..present * self.row_len]);
        self.compact.clear();
        if let Some(old) = self.ring.replace(Ring { buffer, base, length }) {
            pool.give(old.buffer);
        }
    }

    /// Appends up to `count` rows, at most up to the end of the buffer, and returns their values, which are arbitrary.
    ///
    /// # Panics
    /// If no room is reserved.
    pub fn extend(&mut self, count: usize) -> &mut [f32] {
        let (present, row_len, end) = (self.rows.len(), self.row_len, self.rows.end);
        let ring = self.ring.as_mut().expect("rows are reserved before they are appended");
        let (slot, until_end) = ring.slot(end);
        let count = count.min(until_end);
        assert!(present + count <= ring.length, "{count} new rows beside {present} in a ring of {}", ring.length);
        self.rows.end += count;
        &mut ring.buffer[slot * row_len..][..count * row_len]
    }

    /// Discards the rows before `first`; a ring that becomes mostly empty is replaced by a compact copy.
    pub fn discard_before(&mut self, pool: &Pool, first: usize) {
        let first = first.clamp(self.rows.start, self.rows.end);
        let discarded = first - self.rows.start;
        self.rows.start = first;
        let present = self.rows.len();
        if self.ring.is_none() {
            self.compact.drain(..discarded * self.row_len);
        } else if self.ring.as_ref().is_some_and(|ring| 4 * present <= ring.length) {
            // The vector keeps its capacity from the last time; its values are outdated.
            let mut compact = std::mem::take(&mut self.compact);
            compact.resize(present * self.row_len, 0.0);
            self.copy(self.rows.clone(), &mut compact);
            self.compact = compact;
            self.release_ring(pool);
        }
    }

    /// Discards all rows.
    pub fn clear(&mut self, pool: &Pool) {
        self.compact.clear();
        self.rows.start = self.rows.end;
        self.release_ring(pool);
    }

    fn release_ring(&mut self, pool: &Pool) {
        if let Some(ring) = self.ring.take() {
            pool.give(ring.buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_values_until_they_are_discarded() {
        let (pool, mut ring) = (Pool::new(), RowRing::new(3));
        let mut copies = 0;
        // Number of rows retained after each append of 5 rows.
        for retained in [0, 1, 2, 7, 30, 12, 12, 13, 13, 13, 13, 13, 13, 13, 1, 5, 5, 5, 0, 3] {
            let first = ring.end();
            ring.reserve(&pool, retained / 2, 5);
            while ring.end() < first + 5 {
                let row = ring.end();
                let new = ring.extend(first + 5 - row);
                assert!(!new.is_empty());
                new.iter_mut().enumerate().for_each(|(i, v)| *v = (row * 3 + i) as f32);
            }
            ring.discard_before(&pool, ring.end().saturating_sub(retained));
            let rows = ring.rows.clone();
            assert!(rows.len() <= retained && rows.end == first + 5);
            let values: Vec<f32> = (rows.start * 3..rows.end * 3).map(|i| i as f32).collect();
            let found = ring.get(&pool, rows.clone());
            assert_eq!(*found, values);
            copies += usize::from(found.copied.is_some());
            assert!(ring.get(&pool, rows.end..rows.end).is_empty());
        }
        assert!(copies > 2, "rows wrapped around the end of the ring {copies} times");
        ring.clear(&pool);
        assert!(ring.get(&pool, ring.end()..ring.end()).is_empty());
    }

    #[test]
    #[should_panic(expected = "rows 0..1 of a ring with rows 3..5")]
    fn reading_a_discarded_row_panics() {
        let (pool, mut ring) = (Pool::new(), RowRing::new(1));
        ring.reserve(&pool, 0, 5);
        ring.extend(5);
        ring.discard_before(&pool, 3);
        ring.get(&pool, 0..1);
    }
}

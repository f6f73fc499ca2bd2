//! The rows of a map that somebody will still read.

use std::ops::{Deref, Range};

use kernels::{Buffer, Pool};

/// Rows that buffers are made for beside new ones: what is kept of most maps.
const FEW: usize = 4;

/// Some consecutive rows of a map, which grows downwards and is forgotten from above.
pub struct RowRing {
    /// Values of a row.
    row: usize,
    /// The rows that are there, by their place in the map.
    rows: Range<usize>,
    /// Where they are while rows are added or many are kept.
    ring: Option<Ring>,
    /// Where they are otherwise: some rows are all that is kept of most maps, and buffers serve others meanwhile.
    few: Vec<f32>,
}

/// A buffer that begins again where it ends.
struct Ring {
    buffer: Buffer,
    /// The row that lies first, when it is there; a multiple of four, as `length`: pieces end at whole tiles and pairs of rows.
    base: usize,
    /// Rows that have workspace.
    length: usize,
}

impl Ring {
    /// Where a row lies, and how many rows there are from there to the end of the buffer.
    fn place(&self, row: usize) -> (usize, usize) {
        let place = (row - self.base) % self.length;
        (place, self.length - place)
    }
}

/// Values of some rows, one after the other.
pub struct Rows<'a> {
    values: &'a [f32],
    /// The same where they lay apart.
    joined: Option<(Buffer, &'a Pool)>,
}

impl Deref for Rows<'_> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        self.joined.as_ref().map_or(self.values, |(buffer, _)| buffer)
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        if let Some((buffer, pool)) = self.joined.take() {
            pool.give(buffer);
        }
    }
}

impl RowRing {
    /// No rows yet, of so many values each.
    pub fn new(row: usize) -> Self {
        Self { row, rows: 0..0, ring: None, few: Vec::new() }
    }

    /// How many rows there have been.
    pub fn end(&self) -> usize {
        self.rows.end
    }

    /// Values of some rows.
    ///
    /// # Panics
    /// If they are not there.
    pub fn get<'a>(&'a self, pool: &'a Pool, rows: Range<usize>) -> Rows<'a> {
        assert!(self.rows.start <= rows.start && rows.end <= self.rows.end, "{rows:?} of a map with {:?}", self.rows);
        let len = rows.len() * self.row;
        let Some(ring) = &self.ring else {
            return Rows { values: &self.few[(rows.start - self.rows.start) * self.row..][..len], joined: None };
        };
        let (place, until_end) = ring.place(rows.start);
        if rows.len() <= until_end {
            return Rows { values: &ring.buffer[place * self.row..][..len], joined: None };
        }
        let mut joined = pool.take(len);
        self.copy(rows, &mut joined);
        Rows { values: &[], joined: Some((joined, pool)) }
    }

    /// Copies some rows, of which the ring may have the last ones first.
    fn copy(&self, rows: Range<usize>, to: &mut [f32]) {
        let Some(ring) = &self.ring else {
            to.copy_from_slice(&self.few[(rows.start - self.rows.start) * self.row..][..rows.len() * self.row]);
            return;
        };
        let (place, until_end) = ring.place(rows.start);
        let (first, second) = to.split_at_mut(rows.len().min(until_end) * self.row);
        first.copy_from_slice(&ring.buffer[place * self.row..][..first.len()]);
        second.copy_from_slice(&ring.buffer[..second.len()]);
    }

    /// Makes workspace for `most` further rows beside `kept`, or beside those that there are.
    pub fn reserve(&mut self, pool: &Pool, kept: usize, most: usize) {
        let live = self.rows.len();
        // What lies between the base and the first row has workspace too.
        if self.ring.as_ref().is_some_and(|ring| live + most <= ring.length) {
            return;
        }
        let base = self.rows.start / 4 * 4;
        let length = (self.rows.start - base + live.max(kept).max(FEW) + most).next_multiple_of(4);
        let mut buffer = pool.take(length * self.row);
        self.copy(self.rows.clone(), &mut buffer[(self.rows.start - base) * self.row..][..live * self.row]);
        self.few.clear();
        if let Some(old) = self.ring.replace(Ring { buffer, base, length }) {
            pool.give(old.buffer);
        }
    }

    /// Workspace for `count` further rows or for those up to the end of the buffer, if these are fewer; with arbitrary values.
    pub fn extend(&mut self, count: usize) -> &mut [f32] {
        let (live, row, end) = (self.rows.len(), self.row, self.rows.end);
        let ring = self.ring.as_mut().expect("workspace was made");
        let (place, until_end) = ring.place(end);
        let count = count.min(until_end);
        assert!(live + count <= ring.length, "{count} more rows beside {live}: there is workspace for {}", ring.length);
        self.rows.end += count;
        &mut ring.buffer[place * row..][..count * row]
    }

    /// Forgets the rows before `first`.
    pub fn keep_from(&mut self, pool: &Pool, first: usize) {
        let first = first.clamp(self.rows.start, self.rows.end);
        let forgotten = first - self.rows.start;
        self.rows.start = first;
        let live = self.rows.len();
        if self.ring.is_none() {
            self.few.drain(..forgotten * self.row);
        } else if self.ring.as_ref().is_some_and(|ring| 4 * live <= ring.length) {
            // The memory of the last time, whose rows are in the ring.
            let mut few = std::mem::take(&mut self.few);
            few.resize(live * self.row, 0.0);
            self.copy(self.rows.clone(), &mut few);
            self.few = few;
            self.drop_ring(pool);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self, pool: &Pool) {
        self.few.clear();
        self.rows.start = self.rows.end;
        self.drop_ring(pool);
    }

    fn drop_ring(&mut self, pool: &Pool) {
        if let Some(ring) = self.ring.take() {
            pool.give(ring.buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_there_until_they_are_forgotten() {
        let (pool, mut row_ring) = (Pool::new(), RowRing::new(3));
        let mut joined = 0;
        // Of 5 rows a time, few or many are kept.
        for kept in [0, 1, 2, 7, 30, 12, 12, 13, 13, 13, 13, 13, 13, 13, 1, 5, 5, 5, 0, 3] {
            let first = row_ring.end();
            row_ring.reserve(&pool, kept / 2, 5);
            while row_ring.end() < first + 5 {
                let at = row_ring.end();
                let new = row_ring.extend(first + 5 - at);
                assert!(!new.is_empty());
                new.iter_mut().enumerate().for_each(|(i, v)| *v = (at * 3 + i) as f32);
            }
            row_ring.keep_from(&pool, row_ring.end().saturating_sub(kept));
            let rows = row_ring.rows.clone();
            assert!(rows.len() <= kept && rows.end == first + 5);
            let values: Vec<f32> = (rows.start * 3..rows.end * 3).map(|i| i as f32).collect();
            let found = row_ring.get(&pool, rows.clone());
            assert_eq!(*found, values);
            joined += usize::from(found.joined.is_some());
            assert!(row_ring.get(&pool, rows.end..rows.end).is_empty());
        }
        assert!(joined > 2, "rows lay apart {joined} times");
        row_ring.clear(&pool);
        assert!(row_ring.get(&pool, row_ring.end()..row_ring.end()).is_empty());
    }

    #[test]
    #[should_panic(expected = "0..1 of a map with 3..5")]
    fn a_forgotten_row_is_not_read() {
        let (pool, mut row_ring) = (Pool::new(), RowRing::new(1));
        row_ring.reserve(&pool, 0, 5);
        row_ring.extend(5);
        row_ring.keep_from(&pool, 3);
        row_ring.get(&pool, 0..1);
    }
}

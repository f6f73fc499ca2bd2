//! Buffers that are used again.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Mutex;

use super::{LINE, aligned};

/// Buffers that have been given back, by length. A training step asks for the same lengths every time, so that after the
/// first one nothing comes from the system, whose fresh pages would cost as much as the arithmetic on them.
pub struct Pool(Mutex<Shelves>);

struct Shelves {
    by_length: BTreeMap<usize, Shelf>,
    /// Buffers asked for so far.
    asked: u64,
    /// How many times as long as asked for a buffer may be.
    longest: f32,
}

impl Shelves {
    const fn empty(longest: f32) -> Self {
        Self { by_length: BTreeMap::new(), asked: 0, longest }
    }

    /// Gives the longest free buffer back to the system.
    fn drop_longest(&mut self) {
        let longest = self.by_length.values_mut().rev().find_map(|shelf| shelf.buffers.pop());
        drop(longest);
    }
}

/// Free buffers of one length, how many are in use, and when one was last asked for.
#[derive(Default)]
struct Shelf {
    buffers: Vec<Vec<f32>>,
    lent: usize,
    used: u64,
}

/// After so many requests a shelf that was not used is emptied: some training steps, or a few images of other sizes.
const PATIENCE: u64 = 2000;

/// How many times as long as asked for a buffer may be where nothing else is said.
const NEARLY: f32 = 1.25;

/// Values in memory, from the beginning of a cache line on: vectors that lie across two lines would take twice as long.
pub struct Buffer {
    whole: Vec<f32>,
    range: Range<usize>,
}

impl Buffer {
    /// All of the memory, and where the values lie in it.
    pub fn into_parts(self) -> (Vec<f32>, Range<usize>) {
        (self.whole, self.range)
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.whole[self.range.clone()]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.whole[self.range.clone()]
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Pool {
    /// A pool without buffers.
    pub const fn new() -> Self {
        Self(Mutex::new(Shelves::empty(NEARLY)))
    }

    /// A pool of buffers of many lengths that are in use for a short time: a free one serves every shorter request, and one that is
    /// too short makes room for a longer one. There are never more buffers than were in use at the same time.
    pub const fn of_any_length() -> Self {
        Self(Mutex::new(Shelves::empty(f32::INFINITY)))
    }

    /// For images so many times smaller than those before: all their buffers may come from those of the larger ones, so that
    /// images of several sizes need no more memory than the largest.
    pub fn expect_shorter(&self, times: f32) {
        self.0.lock().expect("nothing panics under this lock").longest = NEARLY * times.max(1.0);
    }

    /// A buffer of this length with arbitrary values.
    pub fn take(&self, len: usize) -> Buffer {
        let whole = self.find(len + LINE);
        let from = aligned(&whole);
        Buffer { whole, range: from..from + len }
    }

    /// A buffer of zeros.
    pub fn zeros(&self, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// Keeps a buffer for later.
    pub fn give(&self, buffer: Buffer) {
        self.give_whole(buffer.whole);
    }

    /// Keeps the memory of a buffer for later, unless it came from elsewhere.
    pub fn give_whole(&self, buffer: Vec<f32>) {
        let mut shelves = self.0.lock().expect("nothing panics under this lock");
        if let Some(shelf) = shelves.by_length.get_mut(&buffer.len()).filter(|shelf| shelf.lent > 0) {
            shelf.lent -= 1;
            shelf.buffers.push(buffer);
        }
    }

    /// A free buffer of this length, or the shortest of those that are not much longer; or a new one.
    fn find(&self, len: usize) -> Vec<f32> {
        let mut shelves = self.0.lock().expect("nothing panics under this lock");
        shelves.asked += 1;
        let now = shelves.asked;
        if now.is_multiple_of(PATIENCE / 8) {
            shelves.by_length.retain(|_, shelf| now - shelf.used < PATIENCE);
        }
        let longest = (len as f64 * f64::from(shelves.longest)) as usize;
        let free = shelves.by_length.range_mut(len..=longest).map(|(_, shelf)| shelf).find(|shelf| !shelf.buffers.is_empty());
        if let Some(shelf) = free {
            (shelf.lent, shelf.used) = (shelf.lent + 1, now);
            return shelf.buffers.pop().expect("was just seen");
        }
        if shelves.longest.is_infinite() {
            shelves.drop_longest();
        }
        let shelf = shelves.by_length.entry(len).or_default();
        (shelf.lent, shelf.used) = (shelf.lent + 1, now);
        drop(shelves);
        vec![0.0; len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_until_nobody_asks_for_them() {
        let pool = Pool::new();
        let buffer = pool.take(1000);
        let place = buffer.as_ptr();
        assert_eq!(place as usize % 64, 0);
        pool.give(buffer);
        let shorter = pool.take(900);
        assert_eq!((shorter.as_ptr(), shorter.len()), (place, 900));
        pool.give(shorter);
        let much_shorter = pool.take(700);
        assert_ne!(much_shorter.as_ptr(), place);
        let whole = pool.zeros(1000);
        assert_eq!(whole.as_ptr(), place);
        assert!(whole.iter().all(|v| *v == 0.0));
        pool.give(whole);
        for _ in 0..2 * PATIENCE {
            pool.give(pool.take(10));
        }
        let shelves = pool.0.lock().unwrap();
        assert!(shelves.by_length.iter().all(|(len, shelf)| *len < 100 || shelf.buffers.is_empty()));
    }

    #[test]
    fn a_smaller_image_takes_the_buffers_of_the_larger_one() {
        let pool = Pool::new();
        let [large, small] = [pool.take(4000), pool.take(400)];
        let places = [large.as_ptr(), small.as_ptr()];
        pool.give(large);
        pool.give(small);
        pool.expect_shorter(4.0);
        let [half, tenth] = [pool.take(1000), pool.take(100)];
        assert_eq!([half.as_ptr(), tenth.as_ptr()], places);
        assert_eq!((half.len(), tenth.len()), (1000, 100));
        pool.give(half);
        pool.expect_shorter(1.0);
        assert_ne!(pool.take(1000).as_ptr(), places[0]);
        assert_eq!(pool.take(4000).as_ptr(), places[0]);
    }

    #[test]
    fn a_pool_of_any_length_has_no_more_buffers_than_are_in_use_together() {
        let pool = Pool::of_any_length();
        for len in [100, 5000, 30, 9000, 700] {
            let [one, other] = [pool.take(len), pool.take(len / 2)];
            assert_eq!((one.len(), other.len()), (len, len / 2));
            pool.give(one);
            pool.give(other);
            let free = pool.0.lock().unwrap().by_length.values().map(|shelf| shelf.buffers.len()).sum::<usize>();
            assert_eq!(free, 2, "after {len}");
        }
        let longest = pool.take(10);
        assert!(longest.whole.len() < 9000, "a short request leaves the longest buffer");
    }

    #[test]
    fn buffers_from_elsewhere_are_not_kept() {
        let pool = Pool::new();
        let (whole, _) = pool.take(84).into_parts();
        pool.give_whole(whole);
        pool.give_whole(vec![0.0; 100]);
        pool.give_whole(vec![0.0; 200]);
        assert_eq!(pool.0.lock().unwrap().by_length.values().map(|shelf| shelf.buffers.len()).sum::<usize>(), 1);
    }
}

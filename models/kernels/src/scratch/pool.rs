//! Pool of reused buffers, kept in free lists by length.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Mutex;

use super::{LINE, aligned};

/// Pool of buffers that were returned and serve later requests of similar length.
///
/// A training step requests the same lengths every time, so that after the first step no memory comes from the system, whose fresh pages
/// would cost as much time as the arithmetic on them.
pub struct Pool(Mutex<FreeLists>);

/// Free lists of a pool.
struct FreeLists {
    /// Free lists by the length of their buffers, in values.
    by_length: BTreeMap<usize, FreeList>,
    /// Number of requests so far.
    requests: u64,
    /// Upper limit of a buffer's length, as a multiple of the requested length.
    max_slack: f32,
}

impl FreeLists {
    /// Returns free lists without buffers.
    const fn empty(max_slack: f32) -> Self {
        Self { by_length: BTreeMap::new(), requests: 0, max_slack }
    }

    /// Returns the longest free buffer to the system.
    fn release_longest(&mut self) {
        let longest = self.by_length.values_mut().rev().find_map(|list| list.buffers.pop());
        drop(longest);
    }
}

/// Free buffers of one length.
#[derive(Default)]
struct FreeList {
    buffers: Vec<Vec<f32>>,
    /// Number of buffers of this length in use.
    in_use: usize,
    /// Number of the last request that this list served.
    last_request: u64,
}

/// Number of requests after which an unused free list is dropped: some training steps, or a few images of other sizes.
const IDLE_REQUESTS: u64 = 2000;

/// Default of [`FreeLists::max_slack`].
const DEFAULT_SLACK: f32 = 1.25;

/// Values in memory, aligned to a cache line, because vectors across two cache lines would take twice as long to load.
pub struct Buffer {
    memory: Vec<f32>,
    range: Range<usize>,
}

impl Buffer {
    /// Returns the allocated memory and the range of the values in it.
    pub fn into_parts(self) -> (Vec<f32>, Range<usize>) {
        (self.memory, self.range)
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory[self.range.clone()]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.range.clone()]
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Pool {
    /// Returns a pool without buffers, for lengths that repeat.
    pub const fn new() -> Self {
        Self(Mutex::new(FreeLists::empty(DEFAULT_SLACK)))
    }

    /// Returns a pool for buffers of varying length that are in use for a short time.
    ///
    /// A free buffer serves every shorter request; a request for which every free buffer is too short releases the longest of them. The
    /// pool never holds more buffers than were in use at the same time.
    pub const fn of_any_length() -> Self {
        Self(Mutex::new(FreeLists::empty(f32::INFINITY)))
    }

    /// Raises the upper limit of a buffer's length for images that are `times` smaller than earlier ones.
    ///
    /// Requests of the smaller image are then served by buffers of the larger one, so that images of several sizes need no more memory than
    /// the largest.
    pub fn expect_shorter(&self, times: f32) {
        self.0.lock().expect("no panic while the lock is held").max_slack = DEFAULT_SLACK * times.max(1.0);
    }

    /// Returns a buffer of `len` values with arbitrary contents.
    pub fn take(&self, len: usize) -> Buffer {
        let memory = self.find(len + LINE);
        let from = aligned(&memory);
        Buffer { memory, range: from..from + len }
    }

    /// Returns a buffer of `len` zeros.
    pub fn zeros(&self, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// Returns a buffer to its free list.
    pub fn give(&self, buffer: Buffer) {
        self.give_whole(buffer.memory);
    }

    /// Returns the allocated memory of a buffer to its free list. Memory that is not from this pool is dropped.
    pub fn give_whole(&self, buffer: Vec<f32>) {
        let mut lists = self.0.lock().expect("no panic while the lock is held");
        if let Some(list) = lists.by_length.get_mut(&buffer.len()).filter(|list| list.in_use > 0) {
            list.in_use -= 1;
            list.buffers.push(buffer);
        }
    }

    /// Returns the shortest free buffer between `len` and the upper limit, or else newly allocated memory.
    fn find(&self, len: usize) -> Vec<f32> {
        let mut lists = self.0.lock().expect("no panic while the lock is held");
        lists.requests += 1;
        let now = lists.requests;
        if now.is_multiple_of(IDLE_REQUESTS / 8) {
            lists.by_length.retain(|_, list| now - list.last_request < IDLE_REQUESTS);
        }
        let longest = (len as f64 * f64::from(lists.max_slack)) as usize;
        let free = lists.by_length.range_mut(len..=longest).map(|(_, list)| list).find(|list| !list.buffers.is_empty());
        if let Some(list) = free {
            (list.in_use, list.last_request) = (list.in_use + 1, now);
            return list.buffers.pop().expect("the list has a buffer");
        }
        if lists.max_slack.is_infinite() {
            lists.release_longest();
        }
        let list = lists.by_length.entry(len).or_default();
        (list.in_use, list.last_request) = (list.in_use + 1, now);
        drop(lists);
        vec![0.0; len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_until_their_list_is_idle() {
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
        let memory = pool.zeros(1000);
        assert_eq!(memory.as_ptr(), place);
        assert!(memory.iter().all(|v| *v == 0.0));
        pool.give(memory);
        for _ in 0..2 * IDLE_REQUESTS {
            pool.give(pool.take(10));
        }
        let lists = pool.0.lock().unwrap();
        assert!(lists.by_length.iter().all(|(len, list)| *len < 100 || list.buffers.is_empty()));
    }

    #[test]
    fn a_smaller_image_reuses_the_buffers_of_a_larger_one() {
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
    fn a_pool_of_any_length_holds_no_more_buffers_than_were_in_use_together() {
        let pool = Pool::of_any_length();
        for len in [100, 5000, 30, 9000, 700] {
            let [one, other] = [pool.take(len), pool.take(len / 2)];
            assert_eq!((one.len(), other.len()), (len, len / 2));
            pool.give(one);
            pool.give(other);
            let free = pool.0.lock().unwrap().by_length.values().map(|list| list.buffers.len()).sum::<usize>();
            assert_eq!(free, 2, "after {len}");
        }
        let longest = pool.take(10);
        assert!(longest.memory.len() < 9000, "a short request leaves the longest buffer");
    }

    #[test]
    fn memory_from_outside_the_pool_is_dropped() {
        let pool = Pool::new();
        let (memory, _) = pool.take(84).into_parts();
        pool.give_whole(memory);
        pool.give_whole(vec![0.0; 100]);
        pool.give_whole(vec![0.0; 200]);
        assert_eq!(pool.0.lock().unwrap().by_length.values().map(|list| list.buffers.len()).sum::<usize>(), 1);
    }
}

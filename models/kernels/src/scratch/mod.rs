//! Memory that is used again: buffers for results, and room for intermediate values on each thread.

mod pool;

use std::cell::RefCell;

pub use pool::{Buffer, Pool};

/// Values in a cache line.
const LINE: usize = 16;

thread_local! {
    static ROOM: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Gives `work` room for `len` values, aligned to a cache line, with arbitrary contents; it stays with the thread.
pub fn with_room<T>(len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    ROOM.with_borrow_mut(|room| {
        if room.len() < len + LINE {
            room.clear();
            room.resize(len + LINE, 0.0);
        }
        let from = aligned(room);
        work(&mut room[from..from + len])
    })
}

/// Where the first whole cache line begins.
fn aligned(values: &[f32]) -> usize {
    values.as_ptr().align_offset(4 * LINE).min(LINE)
}

/// A place that several tasks write to, each to values of its own.
#[derive(Clone, Copy)]
pub struct Shared(*mut f32);
// SAFETY: whoever makes one promises that tasks write to different values.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The values of a slice, to be written by tasks that share nothing.
    pub fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// The first value.
    pub fn get(self) -> *mut f32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_aligned() {
        for len in [1, 100, 5000] {
            with_room(len, |room| assert_eq!((room.len(), room.as_ptr() as usize % 64), (len, 0)));
        }
    }
}

//! Memory that is used again: buffers for results, and room for intermediate values on each thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Mutex;

/// Buffers that have been given back, by length. A training step asks for the same lengths every time, so that after the
/// first one nothing comes from the system, whose fresh pages would cost as much as the arithmetic on them.
#[derive(Default)]
pub struct Pool(Mutex<HashMap<usize, Vec<Vec<f32>>>>);

impl Pool {
    /// A buffer of this length with arbitrary values.
    pub fn take(&self, len: usize) -> Vec<f32> {
        let kept = self.0.lock().expect("nothing panics under this lock").get_mut(&len).and_then(Vec::pop);
        kept.unwrap_or_else(|| vec![0.0; len])
    }

    /// A buffer of zeros.
    pub fn zeros(&self, len: usize) -> Vec<f32> {
        let kept = self.0.lock().expect("nothing panics under this lock").get_mut(&len).and_then(Vec::pop);
        kept.map_or_else(
            || vec![0.0; len],
            |mut buffer| {
                buffer.fill(0.0);
                buffer
            },
        )
    }

    /// Keeps a buffer for later.
    pub fn give(&self, buffer: Vec<f32>) {
        if !buffer.is_empty() {
            self.0.lock().expect("nothing panics under this lock").entry(buffer.len()).or_default().push(buffer);
        }
    }

    /// Forgets all buffers.
    pub fn clear(&self) {
        self.0.lock().expect("nothing panics under this lock").clear();
    }
}

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
pub fn aligned(values: &[f32]) -> usize {
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

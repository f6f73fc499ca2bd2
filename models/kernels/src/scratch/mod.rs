//! Reused memory: a pool of buffers for results, and thread-local scratch memory for intermediate values.

mod pool;

use std::cell::RefCell;

pub use pool::{Buffer, Pool};

/// Number of f32 values in a cache line of 64 bytes.
const LINE: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with scratch memory for `len` values, aligned to a cache line, with arbitrary contents.
///
/// The memory belongs to the thread and is reused by later calls. Calls must not be nested.
pub fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < len + LINE {
            scratch.clear();
            scratch.resize(len + LINE, 0.0);
        }
        let from = aligned(scratch);
        work(&mut scratch[from..from + len])
    })
}

/// Returns the index of the first value that begins a cache line.
fn aligned(values: &[f32]) -> usize {
    values.as_ptr().align_offset(4 * LINE).min(LINE)
}

/// Pointer to a slice that several tasks write at the same time, each to values of its own.
#[derive(Clone, Copy)]
pub struct SharedMut(*mut f32);
// SAFETY: the code that creates a `SharedMut` guarantees that tasks write different values.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    /// Shares a slice among tasks that write disjoint values.
    pub fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// Returns the pointer to the first value.
    pub fn get(self) -> *mut f32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_memory_is_aligned_to_cache_lines() {
        for len in [1, 100, 5000] {
            with_scratch(len, |scratch| assert_eq!((scratch.len(), scratch.as_ptr() as usize % 64), (len, 0)));
        }
    }
}

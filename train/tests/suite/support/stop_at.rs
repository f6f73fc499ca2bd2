//! Progress that sets a stop flag after a number of steps.

use std::sync::atomic::{AtomicBool, Ordering};

use support::console::Progress;

/// Progress that sets `stop` once the run has done `at` steps.
pub struct StopAt<'a> {
    pub at: u64,
    pub stop: &'a AtomicBool,
}

impl Progress for StopAt<'_> {
    fn begin(&self, _: &str, _: u64, _: &str) {}
    fn at(&self, done: u64, _: &str) {
        if done >= self.at {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn end(&self) {}
}

//! Bound on the number of bands that readers may be ahead of the last finished band.

use std::sync::{Condvar, Mutex};

use support::Result;

/// Maximum number of bands that are read or computed at the same time.
const BANDS_AHEAD: usize = 2;

/// Limit that blocks readers until earlier bands are finished, and releases them all after a failure.
#[derive(Default)]
pub(super) struct ReadAheadLimit {
    state: Mutex<ReadAheadState>,
    changed: Condvar,
}

#[derive(Default)]
struct ReadAheadState {
    bands_done: usize,
    closed: bool,
}

impl ReadAheadLimit {
    /// Waits until windows of the `band`-th band of the job may be read; returns false if the run has failed.
    pub fn wait_for(&self, band: usize) -> bool {
        let state = self.state.lock().expect("no panic while the limit is locked");
        let state = self.changed.wait_while(state, |state| !state.closed && band >= state.bands_done + BANDS_AHEAD);
        !state.expect("no panic while the limit is locked").closed
    }

    /// Records that one more band is finished.
    pub fn finish_band(&self) {
        self.state.lock().expect("no panic while the limit is locked").bands_done += 1;
        self.changed.notify_all();
    }

    /// Runs `work`; releases all readers if `work` fails or panics.
    pub fn close_on_failure<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        struct Guard<'a>(Option<&'a ReadAheadLimit>);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                let Some(limit) = self.0 else { return };
                limit.state.lock().expect("no panic while the limit is locked").closed = true;
                limit.changed.notify_all();
            }
        }
        let mut guard = Guard(Some(self));
        let result = work();
        if result.is_ok() {
            guard.0 = None;
        }
        result
    }
}

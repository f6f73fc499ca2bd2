//! How far readers may run ahead of what is finished.

use std::sync::{Condvar, Mutex};

use support::Result;

/// Bands that may be open at once.
const BANDS_AHEAD: usize = 2;

/// Holds readers back, and lets all go when something has failed.
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
    /// Waits until windows of band `band` may be read; false: they need not be, the work has failed.
    pub fn wait_for(&self, band: usize) -> bool {
        let state = self.state.lock().expect("no panic at the gate");
        let state = self.changed.wait_while(state, |state| !state.closed && band >= state.bands_done + BANDS_AHEAD);
        !state.expect("no panic at the gate").closed
    }

    /// The next band may be read.
    pub fn finish_band(&self) {
        self.state.lock().expect("no panic at the gate").bands_done += 1;
        self.changed.notify_all();
    }

    /// Does `work`, and closes the gate if it fails or panics.
    pub fn closed_on_failure<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        struct Guard<'a>(Option<&'a ReadAheadLimit>);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                let Some(gate) = self.0 else { return };
                gate.state.lock().expect("no panic at the gate").closed = true;
                gate.changed.notify_all();
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

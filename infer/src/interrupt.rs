//! Signals that ask the program to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use support::Result;

/// Returns the number of the first SIGINT or SIGTERM, 0 before; the second signal ends the process at once.
pub fn listen() -> Result<Arc<AtomicUsize>> {
    let (signal, received) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(number, 128 + number, received.clone())?;
        signal_hook::flag::register(number, received.clone())?;
        signal_hook::flag::register_usize(number, signal.clone(), number as usize)?;
    }
    Ok(signal)
}

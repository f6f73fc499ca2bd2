//! Signals: the first SIGINT or SIGTERM asks a command to save and end, the second one ends the process immediately.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use support::{Result, console};

/// End of a command that can be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// All work is done.
    Finished,
    /// The stop flag was set before the end; all state is saved.
    Interrupted,
}

/// Runs `work` with a stop flag that SIGINT and SIGTERM set; returns the process's exit code, 128 + signal number after an interruption.
pub fn until_signal(work: impl FnOnce(&AtomicBool) -> Result<Completion>) -> ExitCode {
    let signal = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    match register(&signal, &stop).and_then(|()| work(&stop)) {
        Ok(Completion::Interrupted) => ExitCode::from(128 + signal.load(Ordering::Relaxed) as u8),
        result => console::exit(result.map(|_| ())),
    }
}

/// Registers the handlers. The conditional shutdown comes first, so that it sees `stop` only from the second signal on.
fn register(signal: &Arc<AtomicUsize>, stop: &Arc<AtomicBool>) -> Result<()> {
    for number in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(number, 128 + number, stop.clone())?;
        flag::register(number, stop.clone())?;
        flag::register_usize(number, signal.clone(), number as usize)?;
    }
    Ok(())
}

//! Commands that a signal asks to save and end.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Result, console, signals};

/// End of a command that can be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// All work is done.
    Finished,
    /// The stop flag was set before the end; all state is saved.
    Interrupted,
}

/// Runs `work` with a stop flag that signals set; returns the process's exit code, 128 + signal number after an interruption.
pub fn until_signal(work: impl FnOnce(&AtomicBool) -> Result<Completion>) -> ExitCode {
    console::exit_with(signals::listen().and_then(|signals| {
        Ok(match work(&signals.stop)? {
            Completion::Interrupted => ExitCode::from(128 + signals.number.load(Ordering::Relaxed) as u8),
            Completion::Finished => ExitCode::SUCCESS,
        })
    }))
}

//! Signals that ask a program to save and end (feature `program`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use crate::{Result, threads};

/// State of the signals SIGINT, SIGTERM and SIGHUP.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// True after the first signal.
    pub stop: Arc<AtomicBool>,
    /// Number of the last signal; 0 before the first one.
    pub number: Arc<AtomicUsize>,
}

impl Signals {
    /// Ends the process with 128 + the number of the signal if it still runs this long after a signal, because it waits for a slow disk
    /// or a library. Files with final names are complete at any time, so that nothing is lost.
    pub fn end_within(&self, grace: Duration) -> Result<()> {
        let number = self.number.clone();
        std::thread::Builder::new().spawn(move || {
            while number.load(Ordering::Relaxed) == 0 {
                std::thread::sleep(Duration::from_millis(100));
            }
            std::thread::sleep(grace);
            tracing::warn!("the work in progress did not end within {} s of the signal and is given up", grace.as_secs());
            std::process::exit(128 + number.load(Ordering::Relaxed) as i32);
        })?;
        Ok(())
    }
}

/// Starts to listen: the first signal sets the flags, the second one ends the process immediately with 128 + its number.
///
/// A SIGHUP that the caller of the program ignores (`nohup`) stays ignored.
pub fn listen() -> Result<Signals> {
    let signals = Signals::default();
    for number in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|number| *number != SIGHUP || !is_ignored(SIGHUP)) {
        // The conditional shutdown comes first, so that it sees `stop` only from the second signal on.
        flag::register_conditional_shutdown(number, 128 + number, signals.stop.clone())?;
        flag::register(number, signals.stop.clone())?;
        flag::register_usize(number, signals.number.clone(), number as usize)?;
    }
    Ok(signals)
}

/// Ignores SIGINT and SIGHUP, for a child process whose parent tells it when to end.
pub fn leave_to_parent() -> Result<()> {
    for number in [SIGINT, SIGHUP] {
        flag::register(number, Arc::default())?;
    }
    Ok(())
}

/// Prepares the process of a program, so that its limits become errors: a write beyond the limit on file sizes (`ulimit -f`) fails instead
/// of ending the process, and threads that cannot start are found before there is work.
pub fn prepare_process() -> Result<()> {
    flag::register(SIGXFSZ, Arc::default())?;
    threads::start_pool()
}

/// Reports if the process ignores a signal since its start, by Linux' list of ignored signals; false on other systems.
fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

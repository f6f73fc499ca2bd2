//! Threads whose start can fail, and panics that pass from a thread to the one that waits for it.

use std::sync::Mutex;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::{Context, Result};

/// Context of the errors about threads that cannot start.
const LIMIT: &str = "starting a thread: the limit on threads or memory of this process is reached";

/// Starts the threads that parallel loops share, unless they run already.
///
/// # Errors
/// The system has no room for these threads. Without this call, the first parallel loop would panic.
pub fn start_pool() -> Result<()> {
    static STARTED: Mutex<bool> = Mutex::new(false);
    let mut started = STARTED.lock().expect("no panic while the pool starts");
    if !*started {
        rayon::ThreadPoolBuilder::new().build_global().doing(|| LIMIT)?;
        *started = true;
    }
    Ok(())
}

/// Starts a thread in a scope.
///
/// # Errors
/// The system has no room for a further thread.
pub fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).doing(|| LIMIT)
}

/// Waits for a thread; its panic continues in this thread.
pub fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

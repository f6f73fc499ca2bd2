//! Threads whose start can fail, and panics that pass from a thread to the one that waits for it.

use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::{Context, Result};

/// Starts a thread in a scope.
///
/// # Errors
/// The system has no room for a further thread.
pub fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).doing(|| "starting a thread: the limit on threads or memory of this process is reached")
}

/// Waits for a thread; its panic continues in this thread.
pub fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

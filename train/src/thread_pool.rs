//! A thread pool of a chosen size for one piece of work.

use support::Result;

/// Runs `work` in a rayon pool of `threads` threads; 0 is one per core.
pub fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(work)
}

//! Lines that say that something still goes on.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a line comes.
const EVERY: Duration = Duration::from_secs(10);

/// Says every ten seconds what is waited for, until it is dropped; nothing about what is done sooner.
pub struct Waiting {
    /// Dropped to end the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiting {
    /// For work that nothing is known of but that it goes on.
    pub fn for_work(what: &'static str) -> Self {
        Self::telling(EVERY, move |elapsed| tracing::info!("{what}: {} s so far", elapsed.as_secs()))
    }

    fn telling(every: Duration, tell: impl Fn(Duration) + Send + 'static) -> Self {
        let (end, ended) = channel::<()>();
        let began = Instant::now();
        let thread = thread::spawn(move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                tell(began.elapsed());
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.end.take());
        // It only writes lines: what it panicked of, if it did, is no matter of the work.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_while_work_goes_on_and_end_with_it() {
        let (line, lines) = channel();
        let waiting = Waiting::telling(Duration::from_millis(5), move |elapsed| line.send(elapsed).unwrap());
        let first = lines.recv_timeout(Duration::from_mins(1)).unwrap();
        assert!(first >= Duration::from_millis(5) && lines.recv_timeout(Duration::from_mins(1)).unwrap() > first);
        drop(waiting);
        // The sender went with the thread: nothing comes after those that are there.
        assert_eq!(lines.iter().find(|elapsed| *elapsed < first), None);
    }

    #[test]
    fn what_is_soon_done_is_not_told() {
        let (line, lines) = channel();
        drop(Waiting::telling(Duration::from_mins(10), move |_| line.send(()).unwrap()));
        assert!(lines.recv().is_err());
    }
}

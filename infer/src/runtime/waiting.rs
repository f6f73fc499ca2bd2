//! Periodic log lines during long operations without progress information.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Interval of the lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Logs the elapsed time every ten seconds until the value is dropped; shorter operations log nothing.
pub struct Waiting {
    /// Channel whose end stops the thread.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiting {
    /// Starts logging for an operation that `description` names.
    pub fn for_work(description: &'static str) -> Self {
        Self::every(INTERVAL, move |elapsed| tracing::info!("{description}: {} s so far", elapsed.as_secs()))
    }

    /// Calls `report` with the elapsed time after every interval.
    fn every(interval: Duration, report: impl Fn(Duration) + Send + 'static) -> Self {
        let (end, ended) = channel::<()>();
        let began = Instant::now();
        // Without a thread for the lines, the operation itself still runs.
        let thread = thread::Builder::new().spawn(move || {
            while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                report(began.elapsed());
            }
        });
        Self { end: Some(end), thread: thread.ok() }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.end.take());
        // The thread only writes log lines, so a panic of the thread does not concern the operation.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_logged_during_an_operation_and_end_with_it() {
        let (line, lines) = channel();
        let waiting = Waiting::every(Duration::from_millis(5), move |elapsed| line.send(elapsed).unwrap());
        let first = lines.recv_timeout(Duration::from_mins(1)).unwrap();
        assert!(first >= Duration::from_millis(5) && lines.recv_timeout(Duration::from_mins(1)).unwrap() > first);
        drop(waiting);
        // The sender was dropped with the thread, so the remaining lines are the last ones.
        assert_eq!(lines.iter().find(|elapsed| *elapsed < first), None);
    }

    #[test]
    fn a_short_operation_logs_nothing() {
        let (line, lines) = channel();
        drop(Waiting::every(Duration::from_mins(10), move |_| line.send(()).unwrap()));
        assert!(lines.recv().is_err());
    }
}

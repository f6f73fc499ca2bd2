//! Terminal output: progress, logging and errors. Only `main` functions use this module; libraries report through [`Progress`] and
//! `tracing`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{Error, Result};

mod streams;

use streams::write_stderr;
pub use streams::{check_stdout, write_stdout};

/// True if [`Console`] prints nothing.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Receiver of progress reports from long tasks.
pub trait Progress: Send + Sync {
    /// Begins a task of `total` steps; `unit` names a step ("it", "tiles").
    fn begin(&self, task: &str, total: u64, unit: &str);
    /// Reports that `done` steps of the current task are done; `note` is shown with them (loss terms, rates).
    fn at(&self, done: u64, note: &str);
    /// Ends the current task.
    fn end(&self);
}

/// A receiver that discards all reports.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64, _: &str) {}
    fn at(&self, _: u64, _: &str) {}
    fn end(&self) {}
}

/// Silences [`Console`], for programs that were asked to print only warnings and errors.
pub fn silence_progress() {
    QUIET.store(true, Ordering::Relaxed);
}

/// A receiver that shows a progress bar if stderr is a terminal, and prints plain lines otherwise; nothing after [`silence_progress`].
pub struct Console {
    /// Shortest time between two plain lines.
    line_interval: Duration,
    state: Mutex<State>,
}

/// The current task.
#[derive(Default)]
struct State {
    /// Progress bar; `None` if stderr is not a terminal.
    bar: Option<ProgressBar>,
    task: String,
    unit: String,
    total: u64,
    done: u64,
    began: Option<Instant>,
    /// Time of the last plain line.
    printed: Option<Instant>,
}

impl Console {
    /// Creates a receiver that prints plain lines at most every 10 s.
    pub fn new() -> Self {
        Self { line_interval: Duration::from_secs(10), state: Mutex::default() }
    }
}

impl Console {
    /// Reports if the next plain line is to be printed: the last step's, and others after the interval.
    fn is_due(&self, state: &State) -> bool {
        let waited = state.printed.is_none_or(|at| at.elapsed() > self.line_interval);
        (waited || state.done >= state.total) && !QUIET.load(Ordering::Relaxed)
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Console {
    fn begin(&self, task: &str, total: u64, unit: &str) {
        let mut state = self.state.lock().expect("no panic while reporting");
        *state = State { task: task.into(), unit: unit.into(), total, began: Some(Instant::now()), ..State::default() };
        if std::io::stderr().is_terminal() && !QUIET.load(Ordering::Relaxed) {
            let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} [{elapsed} < {eta}] {msg}").expect("template is valid");
            state.bar = Some(ProgressBar::new(total).with_style(style).with_prefix(task.to_owned()));
        }
    }

    fn at(&self, done: u64, note: &str) {
        let mut state = self.state.lock().expect("no panic while reporting");
        state.done = done;
        if let Some(bar) = &state.bar {
            bar.set_position(done);
            bar.set_message(note.to_owned());
        } else if self.is_due(&state) {
            write_stderr(&plain_line(&state, note));
            state.printed = Some(Instant::now());
        }
    }

    fn end(&self) {
        if let Some(bar) = self.state.lock().expect("no panic while reporting").bar.take() {
            bar.finish();
        }
    }
}

/// Formats a plain line: task, steps, elapsed and remaining seconds, note.
fn plain_line(state: &State, note: &str) -> String {
    let elapsed = state.began.map_or(0.0, |at| at.elapsed().as_secs_f64());
    let eta = if state.done == 0 { f64::NAN } else { elapsed / state.done as f64 * state.total.saturating_sub(state.done) as f64 };
    format!("{} {}/{} {} [{elapsed:.0} s < {eta:.0} s] {note}", state.task, state.done, state.total, state.unit)
}

/// Sends `tracing` events to stderr: warnings always, information unless `quiet`, debug messages and traces for `verbose` 1 and 2.
pub fn start_logging(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "warn",
        (false, 0) => "info,ort=warn",
        (false, 1) => "debug,ort=info",
        (false, _) => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(level);
    let ansi = std::io::stderr().is_terminal();
    // A second call (a test, an embedding program) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .without_time()
        .with_target(false)
        .log_internal_errors(false)
        .try_init();
}

/// Returns the exit code of a program: 0, or 1 after printing the error and its hint.
pub fn exit(result: Result<()>) -> ExitCode {
    exit_with(result.map(|()| ExitCode::SUCCESS))
}

/// Returns the exit code of a program: that of its result, or 1 after printing the error and its hint, also if text did not reach stdout.
pub fn exit_with(result: Result<ExitCode>) -> ExitCode {
    result.and_then(|code| check_stdout().map(|()| code)).unwrap_or_else(|error| {
        print_error(&error);
        ExitCode::FAILURE
    })
}

/// Prints `error: …` and, if the error has a hint, `hint: …` to stderr.
pub fn print_error(error: &Error) {
    write_stderr(&format!("error: {error}"));
    if let Some(hint) = error.hint_text() {
        write_stderr(&format!("hint: {hint}"));
    }
}

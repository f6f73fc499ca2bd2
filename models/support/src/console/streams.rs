//! Writing to stdout and stderr. A stream that is gone (closed pipe, lost terminal, full disk) ends no work.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use crate::{Context, Result};

/// First failure of a write to stdout.
static STDOUT_FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Prints a line to stdout, as [`write_stdout`].
#[macro_export]
macro_rules! print_line {
    ($($argument:tt)*) => { $crate::console::write_stdout(format_args!("{}\n", format_args!($($argument)*))) };
}

/// Prints text without a line end to stdout, as [`write_stdout`].
#[macro_export]
macro_rules! print_text {
    ($($argument:tt)*) => { $crate::console::write_stdout(format_args!($($argument)*)) };
}

/// Writes text to stdout. The first failure is kept for [`check_stdout`], and later text is discarded.
pub fn write_stdout(text: fmt::Arguments) {
    keep_failure(|| io::stdout().lock().write_all(printable(&text.to_string()).as_bytes()));
}

/// Runs a write, unless an earlier one failed.
fn keep_failure(write: impl FnOnce() -> io::Result<()>) {
    if STDOUT_FAILURE.get().is_none()
        && let Err(error) = write()
    {
        let _ = STDOUT_FAILURE.set(error);
    }
}

/// Checks that all text has reached stdout. A reader that closed its pipe wanted no more text, which is no error.
///
/// # Errors
/// Any other failure of a write to stdout, such as a full disk.
pub fn check_stdout() -> Result<()> {
    keep_failure(|| io::stdout().lock().flush());
    match STDOUT_FAILURE.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(io::Error::new(error.kind(), error.to_string())).doing(|| "writing to stdout, after all other work was done")
        }
        _ => Ok(()),
    }
}

/// Writes a line to stderr and ignores failures: there is no other place to report them.
pub(super) fn write_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(format!("{}\n", printable(text)).as_bytes());
}

/// Replaces control characters, which file names and foreign metadata can contain and terminals obey, by escapes.
fn printable(text: &str) -> String {
    let is_control = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if is_control(character) {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_lines_kept() {
        assert_eq!(printable("a\u{1b}[31mb\r\n\tc\u{9b}ä"), "a\\u{1b}[31mb\\r\n\tc\\u{9b}ä");
    }
}

//! One error type for the whole road: what was being done, to what, and what to try.

use std::fmt;

/// A result with the project's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, outermost first, and a hint for the person who can mend it.
///
/// Any `std::error::Error` converts into it with `?`; [`Context::doing`] says what was being done.
pub struct Error {
    messages: Vec<String>,
    hint: Option<String>,
}

impl Error {
    /// An error that says `message`: what was being done, to what, expected and found.
    pub fn new(message: impl Into<String>) -> Self {
        Self { messages: vec![message.into()], hint: None }
    }

    /// Adds what the user can do about it. The innermost hint wins: it knows most.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds what was being done when this happened, as the new outermost message.
    #[must_use]
    pub fn during(mut self, doing: impl Into<String>) -> Self {
        self.messages.insert(0, doing.into());
        self
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// `outermost: ...: innermost`, without the hint.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join(": "))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let mut messages = vec![error.to_string()];
        let mut hint = None;
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !messages.iter().any(|seen| seen.contains(&text)) {
                messages.push(text);
            }
            hint = hint.or(cause.downcast_ref().and_then(disk_hint));
            next = cause.source();
        }
        Self { messages, hint: hint.map(str::to_owned) }
    }
}

/// What to do about a disk that cannot be written to.
fn disk_hint(error: &std::io::Error) -> Option<&'static str> {
    use std::io::ErrorKind::{ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull => Some("the disk is full: free some space or choose another output folder; files that were there are unchanged"),
        ReadOnlyFilesystem => Some("the folder cannot be written to: choose another output folder"),
        _ => None,
    }
}

/// Says what was being done when a result turned out to be an error.
pub trait Context<T> {
    /// Puts `doing` before the error's message.
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
    /// Adds a hint to the error.
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().during(doing()))
    }

    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().hint(hint()))
    }
}

/// Returns early with an [`Error`] made as by `format!`; a second group after `; hint:` becomes the hint.
#[macro_export]
macro_rules! bail {
    ($($message:expr),+ ; hint: $($hint:expr),+ $(,)?) => {
        return Err($crate::Error::new(format!($($message),+)).hint(format!($($hint),+)).into())
    };
    ($($message:expr),+ $(,)?) => { return Err($crate::Error::new(format!($($message),+)).into()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_from_outside_in_and_the_inner_hint_wins() {
        let io: std::result::Result<(), _> = Err(std::io::Error::other("disk on fire"));
        let error = io.doing(|| "reading a.png").hint(|| "call for help").hint(|| "outer").unwrap_err();
        assert_eq!(error.to_string(), "reading a.png: disk on fire");
        assert_eq!(format!("{error:?}"), "reading a.png: disk on fire\nhint: call for help");
    }
}

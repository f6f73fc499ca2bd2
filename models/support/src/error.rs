//! Error type of the workspace: a chain of messages, outermost first, and a hint for the user.

use std::fmt;

/// A result with the project's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: messages from the outermost operation to the cause, and a hint for the user.
///
/// Any `std::error::Error` converts into this type with `?`; [`Context::doing`] adds the operation that failed.
pub struct Error {
    messages: Vec<String>,
    hint: Option<String>,
}

impl Error {
    /// Creates an error. `message` names the operation, its object, and the expected and found values.
    pub fn new(message: impl Into<String>) -> Self {
        Self { messages: vec![message.into()], hint: None }
    }

    /// Adds a hint: an action that the user can take. An existing hint stays, because the innermost one is the most specific.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds the operation that failed, as the new outermost message.
    #[must_use]
    pub fn during(mut self, doing: impl Into<String>) -> Self {
        self.messages.insert(0, doing.into());
        self
    }

    /// Returns the hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// Formats the messages as `outermost: …: innermost`, without the hint.
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

/// Returns a hint for errors of a disk that is full or cannot be written to.
fn disk_hint(error: &std::io::Error) -> Option<&'static str> {
    use std::io::ErrorKind::{ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull => Some("the disk is full: free some space or choose another output folder; files that were there are unchanged"),
        ReadOnlyFilesystem => Some("the folder cannot be written to: choose another output folder"),
        _ => None,
    }
}

/// Adds context to the error of a result.
pub trait Context<T> {
    /// Adds the operation that failed before the error's message.
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

/// Returns early with an [`Error`] whose message is formatted as by `format!`; a second group after `; hint:` becomes the hint.
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

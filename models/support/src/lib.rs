//! Parts that every crate of the workspace uses, independent of networks, images and slides.
//!
//! | module | contents |
//! |---|---|
//! | [`durable`] | durable files: bounded read, SHA-256, atomic write |
//! | [`error`] | the error type, with hints |
//! | [`console`] | progress bars and logging, the only code that writes to a terminal |
//! | [`library`] | native libraries: the place where each is found, the hashes of its files |
//! | `verbosity` | the flags `-v` and `-q` of a command line (feature `clap`) |
//! | [`picture`] | PNG, JPEG and TIFF files, decoded whole or refused |
//! | [`wheel`] | pinned Python packages as a source of libraries, weights and sample images |

pub mod console;
pub mod durable;
pub mod error;
pub mod library;
pub mod picture;
#[cfg(feature = "clap")]
pub mod verbosity;
pub mod wheel;

pub use error::{Context, Error, ErrorKind, Result};

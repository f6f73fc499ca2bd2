//! Parts that every crate of the workspace uses, independent of networks, images and slides.
//!
//! | module | contents |
//! |---|---|
//! | [`artifact`] | durable files: bounded read, SHA-256, atomic write |
//! | [`error`] | error type with hints |
//! | [`console`] | progress reports, logging and error output on the terminal |
//! | [`library`] | search for native libraries; hashes of their files |
//! | [`wheel`] | pinned Python packages as a source of libraries and sample images |

pub mod artifact;
pub mod console;
pub mod error;
pub mod library;
pub mod wheel;

pub use error::{Context, Error, Result};

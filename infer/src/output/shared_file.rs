//! Output file of an encoder that does not return the file at its end, or that loses errors of writes.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use support::durable::AtomicFile;
use support::{Error, Result};

/// Shared handle of a file: the encoder writes through one handle, and the other handle returns the file after the encoder was dropped.
#[derive(Clone)]
pub struct SharedFile(Arc<Mutex<AtomicFile>>);

impl SharedFile {
    /// Creates the first handle of a file.
    pub fn new(file: AtomicFile) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }

    /// Wraps an error of the encoder as a failure to write the file.
    pub fn failed(&self, error: impl Into<Error>) -> Error {
        self.file().failed_in_encoder(error)
    }

    /// Returns the file after the encoder was dropped.
    ///
    /// # Errors
    /// A failed write, even if the encoder did not report it.
    ///
    /// # Panics
    /// If the encoder still exists.
    pub fn into_file(self) -> Result<AtomicFile> {
        let file = Arc::into_inner(self.0).expect("the encoder has been dropped");
        let file = file.into_inner().expect("no panic while writing");
        file.check()?;
        Ok(file)
    }

    fn file(&self) -> MutexGuard<'_, AtomicFile> {
        self.0.lock().expect("no panic while writing")
    }
}

impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file().flush()
    }
}

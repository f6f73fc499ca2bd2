//! A file whose encoder does not return it at its end, or loses errors of its writes.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use support::artifact::AtomicFile;
use support::{Error, Result};

/// One of two owners of a file: the encoder writes through its own, the other one takes the file when the encoder has been dropped.
#[derive(Clone)]
pub struct SharedFile(Arc<Mutex<AtomicFile>>);

impl SharedFile {
    /// Shares a file.
    pub fn new(file: AtomicFile) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }

    /// An error of the encoder, told as a failure to write the file.
    pub fn failed(&self, error: impl Into<Error>) -> Error {
        self.file().failed_in_encoder(error)
    }

    /// The file, once the encoder has been dropped; an error if a write failed that the encoder did not tell of.
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

//! File under a temporary name in the folder of its final name, renamed when complete.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Prefix of the names of unfinished files.
const PREFIX: &str = ".partial-";
/// Suffix of the names of unfinished files.
const SUFFIX: &str = ".tmp";

/// Reports whether a path has the name of an [`AtomicFile`] that was not committed; a killed program leaves such files.
pub fn is_unfinished(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

/// File that gets its final name in [`AtomicFile::commit`]. Dropping the value before the commit deletes the temporary file.
///
/// The file is seekable, so that container formats can write their index last.
///
/// The first failed write is kept: every later write repeats the error, and [`AtomicFile::check`] and [`AtomicFile::commit`] return it,
/// because some encoders write their last bytes in `Drop` and lose the error.
pub struct AtomicFile {
    temporary: tempfile::NamedTempFile,
    /// Final name.
    path: PathBuf,
    /// Kind and text of the first write or seek that failed.
    failure: Option<(ErrorKind, String)>,
    /// Number of writes before one fails; `None` outside tests.
    writes_before_fault: Option<usize>,
}

impl AtomicFile {
    /// Creates the temporary file for the final name `path`, and the folder if needed.
    pub fn create(path: &Path) -> Result<Self> {
        Self::create_for(path, false)
    }

    fn create_for(path: &Path, is_secret: bool) -> Result<Self> {
        let folder = folder_of(path);
        fs::create_dir_all(&folder).map_err(|error| write_error(path, error))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(SUFFIX);
        #[cfg(unix)]
        if !is_secret {
            // The system takes the bits of the user's `umask` away.
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        }
        let temporary = builder.tempfile_in(&folder).map_err(|error| write_error(path, error))?;
        Ok(Self { temporary, path: path.to_owned(), failure: None, writes_before_fault: None })
    }

    /// Creates the temporary file like [`AtomicFile::create`]; on Unix only the owner can read the file, before and after its commit.
    pub(super) fn create_secret(path: &Path) -> Result<Self> {
        Self::create_for(path, true)
    }

    /// Makes one write fail after `writes` others, as on a disk that is full for a moment; for tests of writers in other crates.
    #[doc(hidden)]
    #[must_use]
    pub fn with_fault_after(mut self, writes: usize) -> Self {
        self.writes_before_fault = Some(writes);
        self
    }

    /// Returns the first error of this file's writes, if there was one: the file is damaged even if its encoder reported success.
    pub fn check(&self) -> Result<()> {
        self.sound().map_err(|error| self.failed(error))
    }

    /// Returns the first error of this file's writes as an I/O error.
    fn sound(&self) -> std::io::Result<()> {
        self.failure.as_ref().map_or(Ok(()), |(kind, text)| Err(std::io::Error::new(*kind, text.clone())))
    }

    /// Passes a result through and keeps its error. An interrupted call has done nothing and is repeated by its caller.
    fn keep<T>(&mut self, result: std::io::Result<T>) -> std::io::Result<T> {
        if let Err(error) = &result
            && error.kind() != ErrorKind::Interrupted
        {
            self.failure.get_or_insert_with(|| (error.kind(), error.to_string()));
        }
        result
    }

    /// Writes to the temporary file, or fails by the fault of [`AtomicFile::with_fault_after`].
    fn write_or_fault(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match &mut self.writes_before_fault {
            Some(0) => {
                self.writes_before_fault = None;
                Err(ErrorKind::StorageFull.into())
            }
            Some(left) => {
                *left -= 1;
                self.temporary.write(buffer)
            }
            None => self.temporary.write(buffer),
        }
    }

    /// Returns the final name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the size in bytes and the SHA-256 of what was written so far.
    pub fn digest(&self) -> Result<(u64, String)> {
        let file = self.temporary.as_file();
        let read = || Ok((file.metadata()?.len(), super::sha256_of_open_file(file)?));
        read().map_err(|error| self.failed(error))
    }

    /// Returns the name until [`AtomicFile::commit`], for libraries that open files by name; bytes that they write there are committed too.
    pub fn temporary_path(&self) -> &Path {
        self.temporary.path()
    }

    /// Flushes the file to disk and renames it to its final name.
    pub fn commit(self) -> Result<()> {
        self.check()?;
        let Self { temporary, path, .. } = self;
        let fail = |error| write_error(&path, error);
        temporary.as_file().sync_all().map_err(fail)?;
        temporary.persist(&path).map_err(|error| fail(error.error))?;
        File::open(folder_of(&path)).and_then(|folder| folder.sync_all()).map_err(fail)
    }

    /// Returns the first error of this file's writes or, if there is none, `error` of an encoder as a failure to write this file. Encoders
    /// hide the kind of an error, on which the hint depends.
    pub fn failed_in_encoder(&self, error: impl Into<Error>) -> Error {
        self.check().err().unwrap_or_else(|| error.into().during(format!("writing {}", self.path.display())))
    }

    /// Wraps an I/O error as a failure to write this file.
    pub fn failed(&self, error: std::io::Error) -> Error {
        write_error(&self.path, error)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.sound()?;
        let written = self
            .write_or_fault(buffer)
            .and_then(|count| if count == 0 && !buffer.is_empty() { Err(ErrorKind::WriteZero.into()) } else { Ok(count) });
        self.keep(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sound()?;
        let flushed = self.temporary.flush();
        self.keep(flushed)
    }
}

impl std::io::Seek for AtomicFile {
    fn seek(&mut self, position: std::io::SeekFrom) -> std::io::Result<u64> {
        self.sound()?;
        let sought = self.temporary.seek(position);
        self.keep(sought)
    }
}

/// Returns the folder of a path; `.` for a name without a folder.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Returns the error of a failed write to `path`, with a hint if access was denied.
pub fn write_error(path: &Path, error: std::io::Error) -> Error {
    let denied = error.kind() == ErrorKind::PermissionDenied;
    let error = Error::from(error).during(format!("writing {}", path.display()));
    if denied { error.hint("the folder cannot be written to: choose another output folder or change its permissions") } else { error }
}

#[cfg(test)]
mod tests {
    use super::super::write;
    use super::*;

    #[test]
    fn a_dropped_file_leaves_the_old_one_and_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write(&path, b"old").unwrap();
        let mut half = AtomicFile::create(&path).unwrap();
        half.write_all(b"ne").unwrap();
        drop(half);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn the_error_of_a_failed_write_persists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let mut file = AtomicFile::create(&path).unwrap().with_fault_after(1);
        file.write_all(b"first").unwrap();
        file.check().unwrap();
        assert_eq!(file.write_all(b"second").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(file.write_all(b"third").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(file.flush().unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(std::io::Seek::rewind(&mut file).unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(format!("{:?}", file.check().unwrap_err()).contains("the disk is full"));
        let error = file.commit().unwrap_err();
        assert!(error.to_string().contains("a.bin") && error.hint_text().is_some(), "{error:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

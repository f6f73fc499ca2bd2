//! Durable files: bounded reads, SHA-256, and atomic writes, so that a file under its final name is always complete.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Context, Error, Result, bail};

/// Reads a file of at most `limit` bytes into memory.
///
/// # Errors
/// A file that cannot be read, a folder, or a file that is larger than `limit`; the error names the file, its size and the limit.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let doing = || format!("reading {}", path.display());
    let file = File::open(path).doing(doing)?;
    let info = file.metadata().doing(doing)?;
    if info.is_dir() {
        bail!("reading {}: expected a file, found a folder", path.display());
    }
    if info.len() > limit {
        bail!("reading {}: the file has {} bytes, more than the {limit} that are allowed", path.display(), info.len());
    }
    let mut bytes = Vec::with_capacity(info.len() as usize);
    file.take(limit + 1).read_to_end(&mut bytes).doing(doing)?;
    if bytes.len() as u64 > limit {
        bail!("reading {}: the file grew past the {limit} bytes that are allowed", path.display());
    }
    Ok(bytes)
}

/// Computes the SHA-256 of bytes, in lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Computes the SHA-256 of a file of any size, read in blocks of 1 MiB.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    let doing = || format!("hashing {}", path.display());
    sha256_of_open_file(&File::open(path).doing(doing)?).doing(doing)
}

/// SHA-256 of an open file from its first byte to its last, whatever the position of its handle.
pub fn sha256_of_open_file(file: &File) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    loop {
        match read_at(file, &mut buffer, position) {
            Ok(0) => return Ok(hex(&digest.finalize())),
            Ok(count) => {
                digest.update(&buffer[..count]);
                position += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, position)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, position)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// Writes a file atomically: temporary file in the same folder, fsync, rename, fsync of the folder.
///
/// # Errors
/// The file cannot be written; an old file of this name is then unchanged.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|error| file.failed(error))?;
    file.commit()
}

/// Writes a secret file like [`write`]; on Unix only the owner can read the file, from the first byte on.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.is_secret = true;
    file.write_all(bytes).map_err(|error| file.failed(error))?;
    file.commit()
}

/// Prefix of the names of unfinished files.
const PREFIX: &str = ".partial-";
/// Suffix of the names of unfinished files.
const SUFFIX: &str = ".tmp";

/// Reports whether a path has the name of an [`AtomicFile`] that was not committed; a killed program leaves such files.
pub fn is_unfinished(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

/// A file that gets its final name in [`AtomicFile::commit`]. Dropping the value before that deletes the temporary file.
///
/// The file is seekable, so that container formats can write their index last.
///
/// The first failed write is kept: every later write repeats the error, and [`AtomicFile::check`] and [`AtomicFile::commit`] return it,
/// because some encoders write their last bytes in `Drop` and lose the error.
pub struct AtomicFile {
    temporary: tempfile::NamedTempFile,
    /// Final name.
    path: PathBuf,
    /// Keeps the permissions of a temporary file, which only its owner can read.
    is_secret: bool,
    /// Kind and text of the first write or seek that failed.
    failure: Option<(ErrorKind, String)>,
    /// Number of writes before one fails; `None` outside tests.
    writes_before_fault: Option<usize>,
}

impl AtomicFile {
    /// Creates the temporary file for the final name `path`, and the folder if needed.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = folder_of(path);
        fs::create_dir_all(&folder).map_err(|error| write_error(path, error))?;
        let temporary =
            tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(&folder).map_err(|error| write_error(path, error))?;
        Ok(Self { temporary, path: path.to_owned(), is_secret: false, failure: None, writes_before_fault: None })
    }

    /// Makes one write fail after `writes` others, as on a disk that is full for a moment: for tests of writers in other crates.
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

    /// Returns the name until [`AtomicFile::commit`], for libraries that open files by name; bytes that they write there are committed too.
    pub fn temporary_path(&self) -> &Path {
        self.temporary.path()
    }

    /// Flushes the file to disk and renames it to its final name.
    pub fn commit(self) -> Result<()> {
        self.check()?;
        let Self { temporary, path, is_secret, .. } = self;
        let fail = |error| write_error(&path, error);
        temporary.as_file().sync_all().map_err(fail)?;
        if !is_secret {
            set_usual_permissions(temporary.as_file()).map_err(fail)?;
        }
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

/// Creates a folder and its parents.
///
/// # Errors
/// The folder cannot be created; the error names it.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| write_error(path, error))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Sets the permissions that new files have under the current `umask`, because temporary files are private to the user.
#[cfg(unix)]
fn set_usual_permissions(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    file.set_permissions(fs::Permissions::from_mode(0o666 & !mask.bits()))
}

#[cfg(not(unix))]
fn set_usual_permissions(_: &File) -> std::io::Result<()> {
    Ok(())
}

fn write_error(path: &Path, error: std::io::Error) -> Error {
    let denied = error.kind() == ErrorKind::PermissionDenied;
    let error = Error::from(error).during(format!("writing {}", path.display()));
    if denied { error.hint("the folder cannot be written to: choose another output folder or change its permissions") } else { error }
}

#[cfg(test)]
mod tests {
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
    fn a_failed_write_is_an_error_for_good() {
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

    #[test]
    fn reading_is_bounded_and_the_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big.bin");
        fs::write(&path, [0; 100]).unwrap();
        let error = read(&path, 99).unwrap_err().to_string();
        assert!(error.contains("big.bin") && error.contains("100 bytes"), "{error}");
        assert_eq!(read(&path, 100).unwrap().len(), 100);
        assert!(read(folder.path(), 100).unwrap_err().to_string().contains("folder"));
    }

    #[test]
    fn sha256_matches_the_example_of_the_standard() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn the_error_names_the_path_if_a_file_is_in_the_place_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"").unwrap();
        let error = write(&folder.path().join("file/a.bin"), b"x").unwrap_err().to_string();
        assert!(error.contains("file/a.bin"), "{error}");
    }
}

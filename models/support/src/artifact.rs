//! Files that must not lie: read whole and bounded, hashed, and written so that a final name never holds half a file.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Context, Error, Result, bail};

/// Reads a file of at most `limit` bytes into memory; the error names the file, its size and the limit.
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

/// Lower-case hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file of any size, streamed.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    let doing = || format!("hashing {}", path.display());
    let mut file = File::open(path).doing(doing)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).doing(doing)?;
        if n == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&buffer[..n]);
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// Replaces `path` by `bytes`, or leaves the old file: temporary in the same folder, fsync, rename, fsync of the folder.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|error| file.failed(error))?;
    file.commit()
}

/// The same for a secret: on Unix only the file's owner can read it, from its first byte on.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.is_secret = true;
    file.write_all(bytes).map_err(|error| file.failed(error))?;
    file.commit()
}

/// Names of files that are not whole yet.
const PREFIX: &str = ".partial-";
const SUFFIX: &str = ".tmp";

/// Whether a file is named as an [`AtomicFile`] that has not been committed; a killed program leaves such files.
pub fn is_unfinished(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

/// A file that gets its final name only by [`AtomicFile::commit`]; dropped before that, it leaves no trace.
///
/// Seekable, so that container formats can write their index last.
pub struct AtomicFile {
    temporary: tempfile::NamedTempFile,
    path: PathBuf,
    /// Whether it stays readable by its owner alone, as temporary files are.
    is_secret: bool,
}

impl AtomicFile {
    /// Starts a file that will be called `path`; the folder is made if need be.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = folder_of(path);
        fs::create_dir_all(&folder).map_err(|error| write_error(path, error))?;
        let temporary =
            tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(&folder).map_err(|error| write_error(path, error))?;
        Ok(Self { temporary, path: path.to_owned(), is_secret: false })
    }

    /// The final name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name until [`AtomicFile::commit`], for libraries that open files by name; whatever they write there is committed too.
    pub fn temporary_path(&self) -> &Path {
        self.temporary.path()
    }

    /// Gives the file its final name, durably.
    pub fn commit(self) -> Result<()> {
        let Self { temporary, path, is_secret } = self;
        let fail = |error| write_error(&path, error);
        temporary.as_file().sync_all().map_err(fail)?;
        if !is_secret {
            set_usual_permissions(temporary.as_file()).map_err(fail)?;
        }
        temporary.persist(&path).map_err(|error| fail(error.error))?;
        File::open(folder_of(&path)).and_then(|folder| folder.sync_all()).map_err(fail)
    }

    /// `error`, told as a failure to write this file.
    pub fn failed(&self, error: std::io::Error) -> Error {
        write_error(&self.path, error)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.temporary.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.temporary.flush()
    }
}

impl std::io::Seek for AtomicFile {
    fn seek(&mut self, position: std::io::SeekFrom) -> std::io::Result<u64> {
        self.temporary.seek(position)
    }
}

/// Makes a folder and its parents; the error names it.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| write_error(path, error))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Temporary files are private to the user; what a user asked for gets what `umask` gives.
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
    let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
    let error = Error::from(error).during(format!("writing {}", path.display()));
    if denied { error.hint("the folder cannot be written to: choose another output folder or change its permissions") } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_file_leaves_the_old_one_and_no_trace() {
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
    fn sha256_of_the_standard_s_example() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn writing_where_a_file_stands_in_the_way_says_so() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"").unwrap();
        let error = write(&folder.path().join("file/a.bin"), b"x").unwrap_err().to_string();
        assert!(error.contains("file/a.bin"), "{error}");
    }
}

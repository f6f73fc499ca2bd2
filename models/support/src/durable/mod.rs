//! Durable files: bounded reads, SHA-256, and atomic writes, so that a file under its final name is always complete.

mod atomic_file;
mod lock;
mod output;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Context, Error, Result, bail};
use atomic_file::write_error;
pub use atomic_file::{AtomicFile, is_unfinished};
pub use lock::FolderLock;
pub use output::{OutputFolder, check_output};

/// Opens a file for reading.
///
/// # Errors
/// A file that cannot be opened, a folder, or a pipe, socket or device, whose reader could wait without end.
pub fn open(path: &Path) -> Result<File> {
    let expect_file = |info: fs::Metadata| match info.file_type() {
        kind if kind.is_dir() => Err(Error::new("expected a file, found a folder").hint("name the file inside of this folder")),
        kind if kind.is_file() => Ok(()),
        _ => Err(Error::new("expected a regular file, found a pipe, socket or device").hint("save the data as a file first")),
    };
    // The kind is checked before, because opening a pipe waits for its writer, and after, because the name may have changed in between.
    expect_file(fs::metadata(path)?)?;
    let file = File::open(path)?;
    expect_file(file.metadata()?)?;
    Ok(file)
}

/// Removes the files in `folder` that a killed program left unfinished; a folder that does not exist has none.
///
/// Call this only with a [`FolderLock`]: unfinished files of another running process would be removed too.
pub fn remove_unfinished(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.doing(|| format!("listing {}", folder.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        if is_unfinished(&path) {
            fs::remove_file(&path).doing(|| format!("removing an unfinished file of an earlier run, {}", path.display()))?;
        }
    }
    Ok(())
}

/// Reads a file of at most `limit` bytes into memory.
///
/// # Errors
/// A file that cannot be read, a folder, or a file that is larger than `limit`; the error names the file, its size and the limit.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let doing = || format!("reading {}", path.display());
    let file = open(path).doing(doing)?;
    let info = file.metadata().doing(doing)?;
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
    sha256_of_open_file(&open(path).doing(doing)?).doing(doing)
}

/// Computes the SHA-256 of an open file from its first byte to its last, independent of the position of its handle.
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

/// Writes a secret file like [`write()`]; on Unix only the owner can read the file, from the first byte on.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create_secret(path)?;
    file.write_all(bytes).map_err(|error| file.failed(error))?;
    file.commit()
}

/// Creates a folder and its parents.
///
/// # Errors
/// The folder cannot be created; the error names it.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| write_error(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_bounded_and_the_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big.bin");
        fs::write(&path, [0; 100]).unwrap();
        let error = read(&path, 99).unwrap_err().to_string();
        assert!(error.contains("big.bin") && error.contains("100 bytes"), "{error}");
        assert_eq!(read(&path, 100).unwrap().len(), 100);
        assert!(read(folder.path(), 100).unwrap_err().to_string().contains("found a folder"));
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

//! Positioned reads within the bounds of a file, so that a wrong offset or count is an error before memory is allocated.

use std::fs::File;

use crate::{Result, bail};

/// File of known length that any number of threads can read at any position.
pub struct BoundedFile {
    source: Source,
    length: u64,
}

/// Place of the bytes.
enum Source {
    File(File),
    Memory(Vec<u8>),
}

impl BoundedFile {
    /// Creates a reader of an open file.
    pub fn new(file: File) -> Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { source: Source::File(file), length })
    }

    /// Creates a reader of the bytes of a file in memory.
    pub fn of_bytes(bytes: Vec<u8>) -> Self {
        Self { length: bytes.len() as u64, source: Source::Memory(bytes) }
    }

    /// Returns the length of the file in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads `count` bytes from `offset`.
    ///
    /// # Errors
    /// A range beyond the end of the file.
    pub fn read(&self, offset: u64, count: u64) -> Result<Vec<u8>> {
        if offset.checked_add(count).is_none_or(|end| end > self.length) {
            bail!("expected {count} bytes at byte {offset}, found the end of the file at byte {}", self.length);
        }
        match &self.source {
            Source::Memory(bytes) => Ok(bytes[offset as usize..(offset + count) as usize].to_vec()),
            Source::File(file) => {
                let mut bytes = vec![0; count as usize];
                read_at(file, &mut bytes, offset)?;
                Ok(bytes)
            }
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, bytes, offset)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[n..];
        offset += n as u64;
    }
    Ok(())
}

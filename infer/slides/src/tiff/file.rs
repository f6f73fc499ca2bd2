//! Positioned reads that cannot leave the file, so that a lying offset or count is an error before it is an allocation.

use std::fs::File;

use support::{Result, bail};

/// A file of known length, read at any position by any number of threads.
pub struct BoundedFile {
    file: File,
    length: u64,
}

impl BoundedFile {
    /// Takes an open file.
    pub fn new(file: File) -> Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }

    /// Bytes in the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// `count` bytes from `offset`.
    pub fn read(&self, offset: u64, count: u64) -> Result<Vec<u8>> {
        if offset.checked_add(count).is_none_or(|end| end > self.length) {
            bail!("{count} bytes at byte {offset} are beyond the end of the file at byte {}", self.length);
        }
        let mut bytes = vec![0; count as usize];
        self.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    #[cfg(unix)]
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let n = std::os::windows::fs::FileExt::seek_read(&self.file, bytes, offset)?;
            if n == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            bytes = &mut bytes[n..];
            offset += n as u64;
        }
        Ok(())
    }
}

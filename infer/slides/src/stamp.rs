//! Identity, length and times of a file, which reveal a change without reading the contents.

use std::fs::{File, Metadata};
use std::path::Path;
use std::time::SystemTime;

use support::{Context, Result};

/// Identity, length and times of a file. Two equal stamps show that the file was not written to in between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stamp {
    /// Device and inode.
    pub(super) identity: [u64; 2],
    pub(super) length: u64,
    pub(super) modified: Option<SystemTime>,
    /// Seconds and nanoseconds of the last change of contents, name, owner or permissions.
    pub(super) status_changed: [i64; 2],
}

impl Stamp {
    /// Returns the stamp of the open file or, without one, of the file that has the name `path` now.
    pub(super) fn of(path: &Path, file: Option<&File>) -> Result<Self> {
        let metadata = file.map_or_else(|| std::fs::metadata(path), File::metadata);
        let metadata = metadata.doing(|| format!("reading the metadata of {}", path.display()))?;
        let (identity, status_changed) = identity(&metadata);
        Ok(Self { identity, length: metadata.len(), modified: metadata.modified().ok(), status_changed })
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> ([u64; 2], [i64; 2]) {
    use std::os::unix::fs::MetadataExt;
    ([metadata.dev(), metadata.ino()], [metadata.ctime(), metadata.ctime_nsec()])
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> ([u64; 2], [i64; 2]) {
    ([0; 2], [0; 2])
}

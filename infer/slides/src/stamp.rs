//! Identity and times of a file, by which a change is seen without reading it.

use std::fs::{File, Metadata};
use std::path::Path;
use std::time::SystemTime;

use support::{Context, Result};

/// Identity and times of a file; two equal stamps mean that nobody wrote to it in between.
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
    /// The stamp of the open file, or of whatever file has the name now.
    pub(super) fn of(path: &Path, file: Option<&File>) -> Result<Self> {
        let metadata = file.map_or_else(|| std::fs::metadata(path), File::metadata);
        let metadata = metadata.doing(|| format!("looking at {}", path.display()))?;
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

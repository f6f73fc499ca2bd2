//! Locks on output folders, so that two processes never write to one folder at the same time.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::atomic_file::write_error;
use crate::{Error, Result};

/// Name of the lock file in a locked folder.
const NAME: &str = ".lock";

/// Lock on a folder, held until the value is dropped. The operating system releases the lock of a process that ends in any way.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
    path: PathBuf,
    is_abandoned: bool,
}

impl FolderLock {
    /// Locks a folder for this process alone; creates the folder if it is absent.
    ///
    /// # Errors
    /// Another process has a lock on the folder: the error names the process and its host.
    pub fn exclusive(folder: &Path) -> Result<Self> {
        Self::take(folder, File::try_lock)
    }

    /// Locks a folder for this process and others that share the work; creates the folder if it is absent.
    ///
    /// # Errors
    /// Another process has an exclusive lock on the folder.
    pub fn shared(folder: &Path) -> Result<Self> {
        Self::take(folder, File::try_lock_shared)
    }

    /// Reports whether the lock file of a process that was killed was found, so that unfinished work of this program lies in the folder.
    pub fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    fn take(folder: &Path, lock: fn(&File) -> std::result::Result<(), TryLockError>) -> Result<Self> {
        super::create_folder(folder)?;
        let path = folder.join(NAME);
        loop {
            let is_abandoned = path.exists();
            let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
            let file = open.map_err(|error| write_error(&path, error))?;
            match lock(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(in_use(folder, &path)),
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    tracing::warn!("the file system of {} has no locks: let no second process write there", folder.display());
                }
                Err(TryLockError::Error(error)) => return Err(write_error(&path, error)),
            }
            // Between opening and locking, the process that had the lock may have removed this file.
            if is_same(&file, &path) {
                let lock = Self { file, path, is_abandoned };
                lock.describe_owner().map_err(|error| write_error(&lock.path, error))?;
                return Ok(lock);
            }
        }
    }

    /// Writes process and host into the lock file, for the error of other processes.
    fn describe_owner(&self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        (&self.file).write_all(format!("process {} on {}", std::process::id(), host()).as_bytes())
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Only an owner that is alone removes the file; a file that stays has no lock and is found as abandoned.
        if self.file.try_lock().is_ok() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the error about a folder that another process has locked.
fn in_use(folder: &Path, lock: &Path) -> Error {
    let owner = fs::read_to_string(lock).unwrap_or_default();
    let owner = if owner.is_empty() { "another process" } else { owner.trim() };
    Error::new(format!("{}: {owner} is writing to this folder", folder.display()))
        .hint("wait until that process has ended, or choose another output folder")
}

#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |info: &fs::Metadata| (info.dev(), info.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(open), Ok(named)) if identity(&open) == identity(&named))
}

#[cfg(not(unix))]
fn is_same(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Returns the name of this machine.
fn host() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    if name.is_empty() { "this machine".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_by_name_and_granted_after_the_first() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("out");
        let first = FolderLock::exclusive(&folder).unwrap();
        assert!(!first.is_abandoned());
        for second in [FolderLock::exclusive(&folder), FolderLock::shared(&folder)] {
            let error = second.unwrap_err();
            let owner = format!("process {} on {}", std::process::id(), host());
            assert!(error.to_string().contains(&owner) && error.hint_text().is_some(), "{error}");
        }
        drop(first);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        FolderLock::exclusive(&folder).unwrap();
    }

    #[test]
    fn shared_locks_exist_side_by_side_and_exclude_an_exclusive_one() {
        let folder = tempfile::tempdir().unwrap();
        let shared = [FolderLock::shared(folder.path()).unwrap(), FolderLock::shared(folder.path()).unwrap()];
        assert!(FolderLock::exclusive(folder.path()).is_err());
        drop(shared);
        assert!(!FolderLock::exclusive(folder.path()).unwrap().is_abandoned());
    }

    #[test]
    fn the_lock_file_of_a_killed_process_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "process 1 on elsewhere").unwrap();
        assert!(FolderLock::exclusive(folder.path()).unwrap().is_abandoned());
        assert!(!folder.path().join(NAME).exists());
    }
}

//! One file of a slide: its hash, and an error once the file changes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use support::{Context, Error, Result, durable};

use crate::stamp::Stamp;

/// One file of a slide.
#[derive(Debug)]
pub struct Part {
    /// Path relative to the slide's folder, with `/` as separator.
    pub name: String,
    path: PathBuf,
    /// Handle of the reader that keeps the file open; `None` for a file that is opened by name.
    file: Option<File>,
    recorded: Mutex<Recorded>,
}

/// Stamp of the last comparison, and the hash of the contents at that time.
#[derive(Debug)]
struct Recorded {
    stamp: Stamp,
    sha256: Option<String>,
}

impl Part {
    /// Takes the stamp of a file, through its handle if there is one.
    pub fn new(path: &Path, name: String, file: Option<File>) -> Result<Self> {
        let stamp = Stamp::of(path, file.as_ref())?;
        Ok(Self { name, path: path.to_owned(), file, recorded: Mutex::new(Recorded { stamp, sha256: None }) })
    }

    fn stamp(&self) -> Result<Stamp> {
        Stamp::of(&self.path, self.file.as_ref())
    }

    /// Hashes the file.
    ///
    /// # Errors
    /// A file that changed since the slide was opened.
    pub fn hash(&self) -> Result<String> {
        let mut recorded = self.recorded.lock().expect("no panic while a file is hashed");
        let (stamp, sha256) = self.digest()?;
        self.compare(&recorded.stamp, &stamp)?;
        recorded.sha256 = Some(sha256.clone());
        Ok(sha256)
    }

    /// Compares the file with the last stamp; hashes the file again only if nothing but its inode or status changed.
    ///
    /// # Errors
    /// A changed file.
    pub fn check(&self) -> Result<()> {
        let mut recorded = self.recorded.lock().expect("no panic while a file is compared");
        let stamp = self.stamp()?;
        if stamp == recorded.stamp {
            return Ok(());
        }
        if recorded.sha256.is_none() {
            return self.compare(&recorded.stamp, &stamp);
        }
        let Stamp { identity, status_changed, .. } = recorded.stamp;
        self.compare(&recorded.stamp, &Stamp { identity, status_changed, ..stamp })?;
        let (stamp, sha256) = self.digest()?;
        if recorded.sha256.as_ref() != Some(&sha256) {
            return Err(self.changed("its contents are others"));
        }
        recorded.stamp = stamp;
        Ok(())
    }

    /// Computes the hash of the file, and returns the stamp, which is equal before and after hashing.
    fn digest(&self) -> Result<(Stamp, String)> {
        let doing = || format!("hashing {}", self.path.display());
        let file = self.file.as_ref().map_or_else(|| File::open(&self.path), File::try_clone).doing(doing)?;
        let before = Stamp::of(&self.path, Some(&file))?;
        let sha256 = durable::sha256_of_open_file(&file).doing(doing)?;
        let after = self.stamp()?;
        self.compare(&before, &after)?;
        Ok((after, sha256))
    }

    /// Checks that two stamps are equal; the error names the first difference.
    fn compare(&self, before: &Stamp, now: &Stamp) -> Result<()> {
        if before.identity != now.identity {
            return Err(self.changed("another file has its name now"));
        }
        if before.length != now.length {
            return Err(self.changed(&format!("it had {} bytes and has {} now", before.length, now.length)));
        }
        if before.modified != now.modified {
            return Err(self.changed("it was written to"));
        }
        if before.status_changed != now.status_changed {
            return Err(self.changed("its name, owner or permissions changed before its hash was known"));
        }
        Ok(())
    }

    /// Makes the error about a changed file.
    fn changed(&self, difference: &str) -> Error {
        let error = Error::new(format!("expected an unchanged file, but {} changed while the slide was read: {difference}", self.name));
        error.hint("no result was written: wait until the slide is copied completely and no program writes to it, then run again")
    }
}

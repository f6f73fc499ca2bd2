//! One file of a slide: its hash, and an error once the file changes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use support::{Context, Result, artifact, bail};

use crate::stamp::Stamp;

/// One file.
#[derive(Debug)]
pub struct Part {
    /// Path relative to the slide's folder, with `/`.
    pub name: String,
    path: PathBuf,
    /// Handle of a reader that keeps the file open.
    file: Option<File>,
    seen: Mutex<Seen>,
}

/// The last stamp, and the hash of the bytes at that time.
#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    sha256: Option<String>,
}

impl Part {
    pub fn new(path: &Path, name: String, file: Option<File>) -> Result<Self> {
        let stamp = Stamp::of(path, file.as_ref())?;
        Ok(Self { name, path: path.to_owned(), file, seen: Mutex::new(Seen { stamp, sha256: None }) })
    }

    fn stamp(&self) -> Result<Stamp> {
        Stamp::of(&self.path, self.file.as_ref())
    }

    /// Hashes the file; an error if it changed since it was opened.
    pub fn hash(&self) -> Result<String> {
        let mut seen = self.seen.lock().expect("no panic while a file is hashed");
        let (stamp, sha256) = self.digest()?;
        self.compare(&seen.stamp, &stamp)?;
        seen.sha256 = Some(sha256.clone());
        Ok(sha256)
    }

    /// Compares the file with what was hashed; hashes it again only if nothing but its inode or status changed.
    pub fn check(&self) -> Result<()> {
        let mut seen = self.seen.lock().expect("no panic while a file is compared");
        let stamp = self.stamp()?;
        if stamp == seen.stamp {
            return Ok(());
        }
        let Stamp { identity, status_changed, .. } = seen.stamp;
        self.compare(&seen.stamp, &Stamp { identity, status_changed, ..stamp })?;
        let (stamp, sha256) = self.digest()?;
        if seen.sha256.as_ref() != Some(&sha256) {
            bail!("{}: its bytes are others than before", self.name);
        }
        seen.stamp = stamp;
        Ok(())
    }

    /// The hash of the file, and its stamp, which was the same before and after.
    fn digest(&self) -> Result<(Stamp, String)> {
        let doing = || format!("hashing {}", self.path.display());
        let file = self.file.as_ref().map_or_else(|| File::open(&self.path), File::try_clone).doing(doing)?;
        let before = Stamp::of(&self.path, Some(&file))?;
        let sha256 = artifact::sha256_of_open_file(&file).doing(doing)?;
        let after = self.stamp()?;
        self.compare(&before, &after)?;
        Ok((after, sha256))
    }

    /// An error that names the first difference of two stamps.
    fn compare(&self, before: &Stamp, now: &Stamp) -> Result<()> {
        if before.identity != now.identity {
            bail!("{}: another file has its name now", self.name);
        }
        if before.length != now.length {
            bail!("{}: it had {} bytes and has {} now", self.name, before.length, now.length);
        }
        if before.modified != now.modified {
            bail!("{}: it was written to", self.name);
        }
        if before.status_changed != now.status_changed {
            bail!("{}: its name, owner or permissions changed before its hash was known", self.name);
        }
        Ok(())
    }
}

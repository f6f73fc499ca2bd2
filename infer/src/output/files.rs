//! Files of one slide that get their final names together, and the files of an earlier run in the same folder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use support::durable::{self, AtomicFile, FolderLock};
use support::{Context, Result, bail};

use super::Summary;

/// Name of the summary, whose existence marks a finished slide.
pub const SUMMARY: &str = "summary.json";

/// Output file, as the summary lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// File name in the folder of the slide.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the contents.
    pub sha256: String,
}

/// Complete files of one slide that still have temporary names.
pub struct Files {
    folder: PathBuf,
    written: Vec<AtomicFile>,
    /// Output files of an earlier run.
    earlier: BTreeSet<String>,
    /// True if a run of this program was stopped in the folder: files without a summary are then its own.
    was_stopped: bool,
}

impl Files {
    /// Prepares a locked folder: removes unfinished files of a killed run, and reads which files an earlier run wrote.
    ///
    /// `was_stopped` reports that an earlier run in the folder stopped before its end.
    pub fn new(folder: &Path, lock: &FolderLock, was_stopped: bool) -> Result<Self> {
        durable::remove_unfinished(folder)?;
        let was_stopped = was_stopped || lock.is_abandoned();
        Ok(Self { folder: folder.to_owned(), written: Vec::new(), earlier: outputs_of_earlier_run(folder)?, was_stopped })
    }

    /// Returns the folder of the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates a file in the folder.
    ///
    /// # Errors
    /// A file of this name that no run of this program wrote.
    pub fn create(&self, name: &str) -> Result<AtomicFile> {
        let path = self.folder.join(name);
        if path.exists() && !self.was_stopped && !self.earlier.contains(name) {
            bail!("{}: expected no file or one of an earlier run, found another file", path.display();
                hint: "choose another output folder, or move the file away");
        }
        AtomicFile::create(&path)
    }

    /// Adds a complete file.
    pub fn add(&mut self, file: AtomicFile) {
        self.written.push(file);
    }

    /// Lists the complete files with their sizes and hashes.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn outputs(&self) -> Result<Vec<OutputFile>> {
        let output = |file: &AtomicFile| {
            let name = file.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            file.digest().map(|(bytes, sha256)| OutputFile { name, bytes, sha256 })
        };
        self.written.iter().map(output).collect()
    }

    /// Renames all files to their final names and then writes the summary.
    ///
    /// Before, the summary of an earlier run is removed, and all of its files that this run did not write, so that the folder holds one
    /// result.
    pub fn commit(self, summary: &Summary) -> Result<()> {
        self.written.iter().try_for_each(AtomicFile::check)?;
        let is_new = |name: &&String| !summary.outputs.iter().any(|output| output.name == **name);
        self.earlier.iter().filter(is_new).try_for_each(|name| remove(&self.folder.join(name)))?;
        let path = self.folder.join(SUMMARY);
        remove(&path)?;
        for file in self.written {
            file.commit()?;
        }
        durable::write(&path, serde_json::to_string_pretty(summary)?.as_bytes())
    }
}

/// Returns the names of the files that the summary in a folder lists; none if there is no summary.
///
/// # Errors
/// A file with the name of the summary that is not a summary.
fn outputs_of_earlier_run(folder: &Path) -> Result<BTreeSet<String>> {
    let path = folder.join(SUMMARY);
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let Ok(Summary { outputs, .. }) = Summary::read(&path) else {
        bail!("{}: expected the summary of an earlier run, found another file", path.display();
            hint: "choose another output folder, or move the file away");
    };
    // The names in a changed file must not lead out of the folder.
    let is_plain = |name: &String| Path::new(name).file_name().is_some_and(|plain| plain == name.as_str());
    Ok(outputs.into_iter().map(|output| output.name).filter(is_plain).collect())
}

/// Removes a file of an earlier run, if it exists.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("removing a file of an earlier run, {}", path.display()))
        }
        _ => Ok(()),
    }
}

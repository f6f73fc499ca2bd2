//! Output files of a slide, in the folder `OUT/SLIDE/`.
//!
//! | module | contents |
//! |---|---|
//! | [`nucleus`] | nucleus in the slide's coordinates and units |
//! | [`geojson`], [`collections`], [`simplify`] | `nuclei.geojson.gz` for QuPath, in one file or in shards, with exact or simplified outlines |
//! | [`table`] | `nuclei.csv` |
//! | [`columns`], [`annotation_store`] | optional: `nuclei.parquet`; `nuclei.db`, an SQLite database for TIAToolbox |
//! | [`mask`] | `mask.tif`, a pyramid of [`crate::pyramid`], as `probability.tif` is |
//! | [`unsettled`] | rows that later nuclei may still change |
//! | [`labels`], [`overlay`], [`ome`] | `labels.png`, `overlay.png`; optional `labels.ome.tif` |
//! | [`writers`] | all files of nuclei, written from one stream |
//! | [`summary`] | `summary.json`: provenance, areas, counts, timings |
//! | `shared_file` | files whose encoders do not return them |
//!
//! Every file is written under a temporary name. [`Files::commit`] renames the files when all are complete, the summary last.

#[cfg(feature = "sqlite")]
pub mod annotation_store;
pub mod collections;
#[cfg(feature = "parquet")]
pub mod columns;
pub mod geojson;
pub mod labels;
pub mod mask;
pub mod nucleus;
pub mod ome;
pub mod overlay;
mod shared_file;
pub mod simplify;
pub mod summary;
pub mod table;
pub mod unsettled;
pub mod writers;

use std::path::{Path, PathBuf};

use support::durable::{self, AtomicFile};
use support::{Context, Result};

pub use collections::Outlines;
pub use nucleus::{Frame, Nucleus};
pub use summary::Summary;

/// Optional output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtraOutput {
    /// `nuclei.parquet`: the table of nuclei.
    #[cfg(feature = "parquet")]
    Parquet,
    /// `nuclei.db`: an `AnnotationStore` of TIAToolbox.
    #[cfg(feature = "sqlite")]
    AnnotationStore,
    /// `labels.ome.tif`: 32-bit labels as an OME-TIFF pyramid.
    Labels,
}

impl ExtraOutput {
    /// Returns the file name.
    pub fn file(self) -> &'static str {
        match self {
            #[cfg(feature = "parquet")]
            Self::Parquet => "nuclei.parquet",
            #[cfg(feature = "sqlite")]
            Self::AnnotationStore => "nuclei.db",
            Self::Labels => "labels.ome.tif",
        }
    }
}

/// Complete files of one slide that still have temporary names.
pub struct Files {
    folder: PathBuf,
    written: Vec<AtomicFile>,
}

/// Removes temporary files of a killed run.
fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if durable::is_unfinished(&path) {
            std::fs::remove_file(&path).doing(|| format!("removing an unfinished file of an earlier run, {}", path.display()))?;
        }
    }
    Ok(())
}

/// Name of the summary, whose existence marks a finished slide.
pub const SUMMARY: &str = "summary.json";

impl Files {
    /// Creates `folder` if it is absent, and removes temporary files of a killed run from it.
    pub fn new(folder: &Path) -> Result<Self> {
        durable::create_folder(folder)?;
        remove_unfinished(folder)?;
        Ok(Self { folder: folder.to_owned(), written: Vec::new() })
    }

    /// Returns the folder of the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates a file in the folder.
    pub fn create(&self, name: &str) -> Result<AtomicFile> {
        AtomicFile::create(&self.folder.join(name))
    }

    /// Adds a complete file.
    pub fn add(&mut self, file: AtomicFile) {
        self.written.push(file);
    }

    /// Returns the names of the complete files.
    pub fn names(&self) -> Vec<String> {
        let name = |file: &AtomicFile| file.path().file_name().map(|name| name.to_string_lossy().into_owned());
        self.written.iter().filter_map(name).collect()
    }

    /// Renames all files to their final names and then writes the summary. An older summary is removed before, so that no summary exists beside
    /// newer files.
    pub fn commit(self, summary: &Summary) -> Result<()> {
        self.written.iter().try_for_each(AtomicFile::check)?;
        let path = self.folder.join(SUMMARY);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).doing(|| format!("removing the summary of an earlier run, {}", path.display()));
            }
            _ => {}
        }
        for file in self.written {
            file.commit()?;
        }
        durable::write(&path, serde_json::to_string_pretty(summary)?.as_bytes())
    }
}

//! What a slide leaves behind: `OUT/SLIDE/` and the files in it.
//!
//! | module | what |
//! |---|---|
//! | [`nucleus`] | a nucleus in the slide's coordinates and units |
//! | [`geojson`], [`collections`], [`simplify`] | `nuclei.geojson.gz` for QuPath, in one file or many, rings exact or thinned |
//! | [`table`] | `nuclei.csv` |
//! | [`columns`], [`annotation_store`] | on demand: `nuclei.parquet`; `nuclei.db`, an SQLite database for TIAToolbox |
//! | [`pyramid`], [`mask`] | `probability.tif` and `mask.tif`: tiled pyramids, written row of tiles by row of tiles |
//! | [`unsettled`] | rows that a later nucleus may still change |
//! | [`labels`], [`overlay`], [`ome`] | `labels.png`, `overlay.png`; on demand `labels.ome.tif` |
//! | [`writers`] | all files of nuclei, fed from one stream |
//! | `shared_file` | files whose encoders do not return them |
//! | [`summary`] | `summary.json`: provenance, areas, counts, timings |
//!
//! Every file is written under a temporary name; [`Files::commit`] gives the final names when all are whole, the summary last.

pub mod annotation_store;
pub mod collections;
pub mod columns;
pub mod geojson;
pub mod labels;
pub mod mask;
pub mod nucleus;
pub mod ome;
pub mod overlay;
pub mod pyramid;
mod shared_file;
pub mod simplify;
pub mod summary;
pub mod table;
pub(crate) mod tiles;
pub mod unsettled;
pub mod writers;

use std::path::{Path, PathBuf};

use support::artifact::{self, AtomicFile};
use support::{Context, Result};

pub use collections::Outlines;
pub use nucleus::{Frame, Nucleus};
pub use summary::Summary;

/// A file of nuclei that is written on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// The table as `nuclei.parquet`.
    Parquet,
    /// An `AnnotationStore` of TIAToolbox, `nuclei.db`.
    AnnotationStore,
    /// 32-bit labels as an OME-TIFF pyramid, `labels.ome.tif`.
    Labels,
}

impl Extra {
    /// The file's name.
    pub fn file(self) -> &'static str {
        match self {
            Self::Parquet => "nuclei.parquet",
            Self::AnnotationStore => "nuclei.db",
            Self::Labels => "labels.ome.tif",
        }
    }
}

/// Files of one slide that are whole but do not have their final names yet.
pub struct Files {
    folder: PathBuf,
    written: Vec<AtomicFile>,
}

fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if artifact::is_unfinished(&path) {
            std::fs::remove_file(&path).doing(|| format!("removing what a stopped run left, {}", path.display()))?;
        }
    }
    Ok(())
}

/// The name of the file that says that a slide is done.
pub const SUMMARY: &str = "summary.json";

impl Files {
    /// Outputs for the folder `folder`, which is made if need be; what a killed run left unfinished there is removed.
    pub fn new(folder: &Path) -> Result<Self> {
        artifact::create_folder(folder)?;
        remove_unfinished(folder)?;
        Ok(Self { folder: folder.to_owned(), written: Vec::new() })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a file of the folder.
    pub fn create(&self, name: &str) -> Result<AtomicFile> {
        AtomicFile::create(&self.folder.join(name))
    }

    /// Takes a file that is whole.
    pub fn add(&mut self, file: AtomicFile) {
        self.written.push(file);
    }

    /// Names of the files taken so far.
    pub fn names(&self) -> Vec<String> {
        let name = |file: &AtomicFile| file.path().file_name().map(|name| name.to_string_lossy().into_owned());
        self.written.iter().filter_map(name).collect()
    }

    /// Gives all files their final names and writes the summary last; an older summary goes first, so that it never vouches for
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
        artifact::write(&path, serde_json::to_string_pretty(summary)?.as_bytes())
    }
}

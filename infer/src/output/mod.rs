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
//! | `files` | files of one slide until all are complete |
//! | [`mod@check`] | comparison of the files with the summary |
//! | `shared_file` | files whose encoders do not return them |
//!
//! Every file is written under a temporary name. [`Files::commit`] renames the files when all are complete, the summary last.

#[cfg(feature = "sqlite")]
pub mod annotation_store;
pub mod check;
pub mod collections;
#[cfg(feature = "parquet")]
pub mod columns;
mod files;
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

pub use check::check;
pub use collections::Outlines;
pub use files::{Files, OutputFile, SUMMARY};
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

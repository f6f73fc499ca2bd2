//! `summary.json`: slide, model, options, areas, counts, quality and timings of a finished slide.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use support::{Context, Result, durable};

use super::OutputFile;
use crate::golden::Outcome;
use crate::quality::status::QualityFacts;
use slides::scaled::Scale;
use slides::{LostTile, Mpp};

/// Fraction of the analysed area above which lost tiles make a slide incomplete.
pub const MAX_LOST_FRACTION: f64 = 0.05;

/// Contents of `summary.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Completeness of the result.
    pub status: Status,
    /// SHA-256 of everything that the outputs depend on; a run with the same key writes the same files.
    pub key: String,
    /// Name and version of the program.
    pub written_by: String,
    /// Model.
    pub model: ModelFacts,
    /// Slide.
    pub slide: SlideFacts,
    /// Scale at which the slide was read.
    pub scale: ScaleFacts,
    /// Tile grid.
    pub tiles: TileFacts,
    /// Device and number of workers.
    pub run: RunFacts,
    /// Analysed, skipped and lost areas.
    pub areas: Areas,
    /// Counts of nuclei.
    pub nuclei: NucleusFacts,
    /// Comparison of the slide with the images that the model was made for.
    pub quality: QualityFacts,
    /// Durations and speed.
    pub timings: Timings,
    /// Remarks for the user.
    pub notes: Vec<String>,
    /// The other output files.
    pub outputs: Vec<OutputFile>,
}

/// Size limit of a summary.
const MAX_BYTES: u64 = 256 << 20;

impl Summary {
    /// Reads `summary.json`.
    ///
    /// # Errors
    /// A file that cannot be read, or that is no summary of this version.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = durable::read(path, MAX_BYTES)?;
        serde_json::from_slice(&bytes)
            .doing(|| format!("{}: expected a summary by this version of infer segment", path.display()))
            .hint(|| "choose another folder, or remove this one and segment the slide again")
    }

    /// Returns one line of text about the slide.
    pub fn line(&self) -> String {
        let density = self.nuclei.per_mm2.map_or_else(String::new, |density| format!(", {density:.0} per mm²"));
        let lost = &self.areas;
        let skipped = self.areas.skipped_px as f64 / (self.areas.skipped_px + self.areas.analysed_px) as f64;
        let skipped = if skipped > 0.0 { format!("; {:.0} % skipped as glass", skipped * 100.0) } else { String::new() };
        let lost = if lost.lost_tiles.is_empty() {
            String::new()
        } else {
            format!("; {} tiles could not be read, {:.1} % of the area", lost.lost_tiles.len(), lost.lost_share * 100.0)
        };
        let doubts = self.quality.doubts();
        let doubts = if doubts.is_empty() { doubts } else { format!("; to be looked at: {doubts}") };
        let scale = self.scale.read_at.effective_mpp.map_or_else(|| "unknown scale".to_owned(), |[x, _]| format!("{x:.4} µm/px"));
        format!(
            "{}: {} nuclei{density} at {scale}, {:.1} s, {:.2} Mpx/s{skipped}{lost}{doubts}",
            self.slide.file, self.nuclei.count, self.timings.wall_seconds, self.timings.megapixels_per_second
        )
    }
}

/// Completeness of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// At most 5 % of the analysed area could not be read.
    Complete,
    /// More than 5 % of the analysed area could not be read.
    Incomplete,
}

/// Model of a result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Name on the model card.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Microns per pixel of the training images.
    pub microns_per_pixel: Option<f64>,
}

/// Slide of a result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlideFacts {
    /// File name without the folder.
    pub file: String,
    /// SHA-256 of the slide as it was read; of one of several files, see [`slides::Contents::sha256`].
    pub sha256: String,
    /// Reader: `image`, `tiff` or `openslide`.
    pub reader: String,
    /// Columns and rows of level 0.
    pub size_px: [u64; 2],
}

/// Scale at which a slide was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScaleFacts {
    /// Scale of the slide, and the property that contains it.
    pub slide: Option<Mpp>,
    /// Level, factors, size, effective scale.
    #[serde(flatten)]
    pub read_at: Scale,
    /// Origin of the positions in the files, in level-0 pixels.
    pub origin_px: [f64; 2],
}

/// Tile grid of a slide.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TileFacts {
    /// Columns and rows of a window; on the native device, neighbours of a band are merged.
    pub window_px: [usize; 2],
    /// Halo around each core.
    pub halo_px: usize,
    /// True if the halo covers the reach of the network, so that results do not depend on the grid.
    pub halo_is_exact: bool,
    /// Number of windows.
    pub windows: usize,
    /// Windows without tissue, which were not computed.
    pub windows_skipped: usize,
    /// Number of pixels computed per pixel of the image.
    pub overlap: f64,
}

/// Device and workers of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunFacts {
    /// Description of device and runtime by the caller.
    pub device: String,
    /// Number of windows per batch.
    pub batch: usize,
    /// Number of networks that ran side by side.
    pub networks: usize,
    /// Number of threads that read windows.
    pub readers: usize,
    /// Checks of the model before the run.
    #[serde(flatten, default)]
    pub proof: Proof,
}

/// Checks that a model passed on this device before the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Proof {
    /// Result of the golden tiles; `None` if the model has none.
    #[serde(default)]
    pub golden: Option<Outcome>,
    /// Comment of the signer; `None` if no signature was checked.
    #[serde(default)]
    pub signed: Option<String>,
}

/// Analysed, skipped and lost areas of a slide.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Areas {
    /// Analysed part: `all`, `tissue found`, or the name of the file that defines it.
    pub regions: String,
    /// Number of pixels at the model's scale in analysed grid tiles.
    pub analysed_px: u64,
    /// Analysed area in mm²; `None` if the scale is unknown.
    pub analysed_mm2: Option<f64>,
    /// Number of pixels in grid tiles without tissue.
    pub skipped_px: u64,
    /// Skipped area in mm².
    pub skipped_mm2: Option<f64>,
    /// Number of lost pixels at the level that was read.
    pub lost_px: u64,
    /// Lost area in mm².
    pub lost_mm2: Option<f64>,
    /// Lost fraction of the analysed area.
    pub lost_share: f64,
    /// Tiles that could not be decoded.
    pub lost_tiles: Vec<LostTile>,
}

/// Counts of the nuclei of a slide.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct NucleusFacts {
    /// Number of nuclei.
    pub count: u64,
    /// Nuclei per mm² of the analysed area; `None` if the scale is unknown.
    pub per_mm2: Option<f64>,
    /// Number of nuclei that reach the border of the image.
    pub touching_border: u64,
    /// Mean area in µm², or in level-0 pixels if the scale is unknown.
    pub mean_area: Option<f64>,
}

/// Durations and speed of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timings {
    /// Time from opening the slide to the last file.
    pub wall_seconds: f64,
    /// Working time of each stage, summed over its threads.
    pub busy_seconds: BTreeMap<String, f64>,
    /// Time from the first window to the last nucleus.
    pub pipeline_seconds: f64,
    /// Fraction of `pipeline_seconds` in which the threads of each stage worked.
    pub busy_share: BTreeMap<String, f64>,
    /// Stage with the largest fraction.
    pub limited_by: String,
    /// Megapixels at the model's scale per second.
    pub megapixels_per_second: f64,
    /// Seconds per mm²; `None` if the scale is unknown.
    pub seconds_per_mm2: Option<f64>,
}

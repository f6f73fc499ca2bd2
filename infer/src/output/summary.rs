//! `summary.json`: what was done to which slide by which model, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::golden::Outcome;
use crate::quality::status::Facts;
use slides::scaled::Scale;
use slides::{LostTile, Mpp};

/// Slides that lost a larger share of their area are incomplete.
pub const COMPLETE_WITHIN: f64 = 0.05;

/// The content of `summary.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Whether the result can stand for the slide.
    pub status: Status,
    /// Everything that the files beside this one depend on, as a hash: a run of the same key would write the same.
    pub key: String,
    /// Program and version.
    pub written_by: String,
    /// The model.
    pub model: ModelFacts,
    /// The slide.
    pub slide: SlideFacts,
    /// At what scale it was read.
    pub scale: ScaleFacts,
    /// How it was cut.
    pub tiles: TileFacts,
    /// What ran the network.
    pub run: RunFacts,
    /// What was looked at and what was lost.
    pub areas: Areas,
    /// What was found.
    pub nuclei: NucleusFacts,
    /// Whether the slide is what the model was made for.
    pub quality: Facts,
    /// How long it took.
    pub timings: Timings,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Files beside this one.
    pub outputs: Vec<String>,
}

impl Summary {
    /// One slide in a line for a person.
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

/// Whether the result can stand for the slide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// At most 5 % of the area could not be read.
    Complete,
    /// More of it could not be read.
    Incomplete,
}

/// The model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Its name on the card.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// µm per pixel of its training images.
    pub microns_per_pixel: Option<f64>,
}

/// The slide.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlideFacts {
    /// The file's name without its folder.
    pub file: String,
    /// SHA-256 of the slide as it was read; of one of several files, see [`crate::slide::Contents::sha256`].
    pub sha256: String,
    /// What read it: `image`, `tiff` or `openslide`.
    pub reader: String,
    /// Columns and rows of level 0.
    pub size_px: [u64; 2],
}

/// At what scale the slide was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScaleFacts {
    /// The slide's own scale and where it was found.
    pub slide: Option<Mpp>,
    /// Level, factors, size, effective scale.
    #[serde(flatten)]
    pub read_at: Scale,
    /// Added to positions in the files gives level-0 pixels.
    pub origin_px: [f64; 2],
}

/// How the image was cut.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TileFacts {
    /// Columns and rows of every window; own kernels take neighbours of a band as one.
    pub window_px: [usize; 2],
    /// Pixels around each core.
    pub halo_px: usize,
    /// Whether the halo covers all that a value can depend on, so that tiles cannot show.
    pub halo_is_exact: bool,
    /// Number of windows.
    pub windows: usize,
    /// Windows without tissue, which were not computed.
    pub windows_skipped: usize,
    /// Pixels computed for one pixel of the image.
    pub overlap: f64,
}

/// What ran the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunFacts {
    /// Device and runtime, as the caller named them.
    pub device: String,
    /// Windows at once.
    pub batch: usize,
    /// Networks that ran side by side.
    pub networks: usize,
    /// Threads that read.
    pub readers: usize,
    /// What was known of the model before it ran.
    #[serde(flatten, default)]
    pub proof: Proof,
}

/// What was known of a model on this device before it ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Proof {
    /// How its golden tiles came out; `None`: it carries none.
    #[serde(default)]
    pub golden: Option<Outcome>,
    /// What the signer wrote; `None`: no key was asked for.
    #[serde(default)]
    pub signed: Option<String>,
}

/// What was looked at and what was lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Areas {
    /// Where was looked: `all`, `tissue found` or the name of the file that told it.
    pub regions: String,
    /// Pixels at the model's scale in cells that were analysed.
    pub analysed_px: u64,
    /// The same in mm², where the scale is known.
    pub analysed_mm2: Option<f64>,
    /// Pixels in cells without tissue.
    pub skipped_px: u64,
    /// The same in mm².
    pub skipped_mm2: Option<f64>,
    /// Lost pixels at the level that was read.
    pub lost_px: u64,
    /// The same in mm².
    pub lost_mm2: Option<f64>,
    /// Lost share of what was to be analysed.
    pub lost_share: f64,
    /// The tiles that could not be decoded.
    pub lost_tiles: Vec<LostTile>,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct NucleusFacts {
    /// Nuclei.
    pub count: u64,
    /// Nuclei on a mm² of the analysed area, where the scale is known.
    pub per_mm2: Option<f64>,
    /// Nuclei that reach the border of the image.
    pub touching_border: u64,
    /// Mean area in µm², or in level-0 pixels where the scale is not known.
    pub mean_area: Option<f64>,
}

/// How long it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timings {
    /// From opening the slide to the last file.
    pub wall_seconds: f64,
    /// Seconds that each stage was busy, summed over its threads.
    pub busy_seconds: BTreeMap<String, f64>,
    /// From the first window to the last nucleus.
    pub pipeline_seconds: f64,
    /// Share of that time in which the threads of each stage were busy.
    pub busy_share: BTreeMap<String, f64>,
    /// The stage with the largest share.
    pub limited_by: String,
    /// Megapixels at the model's scale a second.
    pub megapixels_per_second: f64,
    /// Seconds for a mm², where the scale is known.
    pub seconds_per_mm2: Option<f64>,
}

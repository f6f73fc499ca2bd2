//! Streaming extraction of instances: rows of probabilities in, nuclei out, with memory for open components only.
//!
//! The result equals [`models::decode`] on the whole image.
//!
//! | module | contents |
//! |---|---|
//! | [`runs`] | run-length encoding of foreground; lookup in sorted runs |
//! | [`open`] | open components, which the current row may still extend; 8-connected, merged by union-find |
//! | [`boundary`] | boundaries of components as rings; filling of holes |
//! | [`nuclei`] | decoding of a finished component to nuclei: filling, splitting |
//! | [`shape`] | shape measurements: area, axes, convex hull |
//! | [`extractor`] | the stream: rows in, finished nuclei out |

pub mod boundary;
pub mod extractor;
pub mod nuclei;
pub mod open;
pub mod runs;
pub mod shape;

pub use extractor::{Extractor, FinishedInstances};
pub use runs::Run;

use boundary::Ring;
use models::colour::ColourSum;

/// Finished nucleus at the model's scale. The order of instances depends on the image only, not on windows and shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Number from 1, in the order in which nuclei are finished from top to bottom.
    pub id: u64,
    /// Pixels as sorted runs; holes are filled if the model card says so.
    pub runs: Vec<Run>,
    /// Outer boundary, then holes (none if holes are filled), in quarters of a pixel.
    pub rings: Vec<Ring>,
    /// Number of pixels above the threshold, before filling.
    pub foreground_px: u64,
    /// Sum of the quantised probabilities `round(255 p)` of the pixels above the threshold.
    pub probability_sum: u64,
    /// Sum of the colours of the pixels above the threshold.
    pub colour: ColourSum,
    /// True if a pixel lies at the border of the image.
    pub touches_border: bool,
}

impl Instance {
    /// Returns the mean probability of the pixels above the threshold; 0 for a nucleus that consists of a filled hole.
    pub fn mean_probability(&self) -> f64 {
        self.probability_sum as f64 / self.foreground_px.max(1) as f64 / 255.0
    }

    /// Returns the number of pixels, filled holes included.
    pub fn area_px(&self) -> u64 {
        self.runs.iter().map(Run::length).sum()
    }
}

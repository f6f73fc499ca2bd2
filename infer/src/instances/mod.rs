//! Probability rows in, nuclei out: what [`models::decode`] defines, streamed, with memory for open nuclei only.
//!
//! | module | what |
//! |---|---|
//! | [`runs`] | rows as runs of foreground; the runs of one component |
//! | [`open`] | components that the current row may still grow: 8-connected, merged as they meet |
//! | [`boundary`] | the boundary of a component as rings; filling |
//! | [`nuclei`] | a finished component to its nuclei: filling, cutting |
//! | [`shape`] | area, axes, hull |
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

/// One finished nucleus at the model's scale. Its order among others depends on the image only, never on how it was cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// From 1, in the order in which nuclei are finished from top to bottom.
    pub id: u64,
    /// Its pixels, holes filled if the model card says so, row by row.
    pub runs: Vec<Run>,
    /// Its outer boundary first, then holes (none where holes are filled), in quarters of a pixel.
    pub rings: Vec<Ring>,
    /// Pixels above the threshold, before filling.
    pub foreground_px: u64,
    /// Sum of their quantised probabilities, `round(255 p)`.
    pub probability_sum: u64,
    /// Sum of their colours.
    pub colour: ColourSum,
    /// Whether it reaches the border of the image.
    pub touches_border: bool,
}

impl Instance {
    /// Mean probability of the pixels above the threshold; 0 for what lies in a filled hole altogether.
    pub fn mean_probability(&self) -> f64 {
        self.probability_sum as f64 / self.foreground_px.max(1) as f64 / 255.0
    }

    /// Pixels, filled.
    pub fn area_px(&self) -> u64 {
        self.runs.iter().map(Run::length).sum()
    }
}

//! Scribbles: reading, generation from instance labels, and export.

pub mod auto;
mod background;
pub mod export;
pub mod geojson;
pub mod harris;
pub mod imagej;
mod outline;
mod raster;
mod roi;
pub mod skeleton;
pub mod strokes;

pub use crate::scribble_values::{BACKGROUND, FOREGROUND, UNLABELLED};

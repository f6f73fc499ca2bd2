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

/// Value of background strokes in scribble maps.
pub const BACKGROUND: u8 = 0;
/// Value of nucleus strokes in scribble maps.
pub const FOREGROUND: u8 = 1;
/// Value of pixels without a stroke in scribble maps.
pub const UNLABELLED: u8 = 250;

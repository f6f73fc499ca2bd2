//! Scribbles: where they come from and what their values mean.

pub mod auto;
mod background;
pub mod export;
pub mod geojson;
pub mod harris;
pub mod imagej;
mod outline;
mod pen;
mod roi;
pub mod skeleton;
pub mod strokes;

/// A stroke on background.
pub const BACKGROUND: u8 = 0;
/// A stroke on a nucleus.
pub const FOREGROUND: u8 = 1;
/// No stroke.
pub const UNLABELLED: u8 = 250;

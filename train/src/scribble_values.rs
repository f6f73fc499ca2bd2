//! Pixel values of a scribble map, the same in memory and in the files that `train` writes.

/// Value of background strokes in scribble maps.
pub const BACKGROUND: u8 = 0;
/// Value of nucleus strokes in scribble maps.
pub const FOREGROUND: u8 = 1;
/// Value of pixels without a stroke in scribble maps.
pub const UNLABELLED: u8 = 250;

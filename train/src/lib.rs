//! Training: from strokes to a checkpoint.

pub mod augment;
pub mod check;
pub mod config;
pub mod data;
pub mod make_scribbles;
pub mod metrics;
pub mod overlay;
pub mod rng;
pub mod scribble;

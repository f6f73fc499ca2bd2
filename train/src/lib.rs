//! Training: from strokes to a checkpoint.

pub mod augment;
pub mod config;
pub mod data;
pub mod metrics;
pub mod rng;
pub mod scribble;

//! Training: from strokes to a checkpoint.

pub mod config;
pub mod data;
pub mod rng;
pub mod scribble;

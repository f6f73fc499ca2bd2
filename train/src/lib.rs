//! Training: from strokes to a checkpoint.

pub mod checkpoint;
pub mod config;
pub mod data;
pub mod evaluate;
pub mod loss;
pub mod network;
pub mod optimizer;
pub mod pseudo_labels;
pub mod rng;
pub mod scribble;
pub mod step;

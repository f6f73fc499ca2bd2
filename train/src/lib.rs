//! Training: from strokes to a checkpoint.

pub mod augment;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod evaluate;
pub mod fit;
pub mod initial;
pub mod log;
pub mod loss;
pub mod metrics;
pub mod network;
pub mod optimizer;
pub mod pseudo_labels;
pub mod rng;
pub mod scribble;
pub mod step;

//! Training: from strokes to a checkpoint.

pub mod augment;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod data;
pub mod evaluate;
pub mod export_scribbles;
pub mod fit;
pub mod folds;
pub mod init;
pub mod initial;
pub mod log;
pub mod loss;
pub mod make_scribbles;
pub mod metrics;
pub mod network;
pub mod optimizer;
pub mod overlay;
pub mod pseudo_labels;
pub mod report;
pub mod rng;
pub mod scribble;
pub mod step;
pub mod suggest;
pub mod weight_average;

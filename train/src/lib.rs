//! Scribble2Label with multiscale contrastive regularisation: from strokes to a checkpoint.

pub mod network;
pub mod rng;

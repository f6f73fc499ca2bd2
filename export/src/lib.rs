//! From a checkpoint to one ONNX file.
//!
//! `Checkpoint -> (Graph, Weights) -> passes -> ONNX -> effective reach, measured through infer's session -> file with its card`
//!
//! | module | what |
//! |---|---|
//! | [`weights`] | opens a checkpoint; every mismatch in one error |
//! | [`pass`] | graph and weights to graph and weights that compute the same, one file each |
//! | [`mod@onnx`] | the ONNX file: nodes, then bytes |
//! | [`effective_reach`] | the halo at which tiles agree with the whole image, measured |
//! | [`tiles`] | images to measure it on |
//!
//! No forward pass is computed here: what runs, runs through `infer`.

pub mod effective_reach;
pub mod onnx;
pub mod pass;
pub mod tiles;
pub mod weights;

mod convert;

pub use convert::{Options, Summary, onnx};

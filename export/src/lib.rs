//! From a checkpoint to one ONNX file.
//!
//! `Checkpoint -> (Graph, Weights) -> passes -> ONNX -> effective reach, measured through infer's session -> file with its card`
//!
//! | module | what |
//! |---|---|
//! | [`weights`] | opens a checkpoint; every mismatch in one error |
//! | [`pass`] | graph and weights to graph and weights that compute the same, one file each |
//! | [`writer`] | the ONNX file: nodes, then bytes |
//! | [`form`], [`calibrate`] | the network as its target runs it fastest; ranges for 8 bits |
//! | [`about`], [`describe`] | what goes onto the card, and the card for people and other programs |
//! | [`keys`] | signatures |
//! | [`effective_reach`] | the halo at which tiles agree with the whole image, measured |
//! | [`tiles`] | images to measure it on |
//!
//! No forward pass is computed here: what runs, runs through `infer`.

pub mod about;
pub mod calibrate;
pub mod describe;
pub mod effective_reach;
pub mod form;
pub mod keys;
pub mod pass;
pub mod tiles;
pub mod weights;
pub mod writer;

mod convert;

pub use convert::{Options, Summary, onnx};

//! Conversion of a checkpoint to one ONNX file with its model card.
//!
//! `Checkpoint -> (Graph, Weights) -> passes -> measurements on real tiles -> form -> sealed ONNX file with card and golden tiles`
//!
//! | module | contents |
//! |---|---|
//! | [`checkpoint`] | network, weights and training summary of a checkpoint |
//! | [`pass`] | graph rewrites that keep the result, one file each |
//! | [`writer`] | ONNX encoding of a graph in f32, f16 or 8-bit arithmetic |
//! | [`form`], [`calibrate`] | graph rewrites and arithmetic by target; ranges for 8 bits |
//! | [`effective_reach`] | smallest halo at which tiles agree with the whole image |
//! | [`tiles`] | images to measure on and tiles cut from them |
//! | [`about`], [`describe`] | entries of the card from the user; renderings of the card |
//! | [`keys`] | key pairs and signatures |
//! | `convert` | the whole conversion, [`onnx()`] |
//!
//! This crate has no forward pass of its own: every network runs in a session of `infer`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod about;
pub mod calibrate;
pub mod checkpoint;
pub mod describe;
pub mod effective_reach;
pub mod form;
pub mod keys;
pub mod pass;
pub mod tiles;
pub mod writer;

mod convert;

pub use convert::{Options, Summary, onnx};

//! The part of the ONNX format that this project writes and reads.
//!
//! | module | contents |
//! |---|---|
//! | [`proto`] | wire types, with the field numbers of `onnx.proto3` |
//! | [`build`] | tensors, attributes and nodes from Rust values |
//! | [`golden`] | golden tiles: images with expected probabilities |
//! | [`names`] | names of the input and outputs of every model |
//! | [`seal`] | SHA-256 of a model file as its last metadata entry |

pub mod build;
pub mod golden;
pub mod names;
pub mod proto;
pub mod seal;

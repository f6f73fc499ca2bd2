//! Definition of a model: network graph, weights, model card and decoding of probabilities, without tensors and without a runtime.
//!
//! | module | contents |
//! |---|---|
//! | [`graph`] | the network as data: operations, shapes, parameters, receptive field |
//! | [`unet`], [`resnet`], [`mobilenet`] | architectures as functions that build a graph |
//! | [`weights`] | named arrays and the strictly checked safetensors file that stores them |
//! | [`card`] | the model card, which is stored in the ONNX file |
//! | [`decode`] | instances from a probability map, with the same result in training scores and on slides |
//! | [`split`], [`distance`] | splitting of touching nuclei; exact Euclidean distance transform |
//! | [`colour`], [`stains`] | optical density, colour statistics of a training set; colour deconvolution |
//! | [`plane`] | a single-channel image in memory |

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod card;
pub mod colour;
pub mod decode;
pub mod distance;
pub mod graph;
mod holes;
mod labels;
pub mod mobilenet;
pub mod plane;
pub mod resnet;
pub mod split;
pub mod stains;
pub mod unet;
pub mod weights;

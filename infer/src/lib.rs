//! Every nucleus of a whole slide from one ONNX file.
//!
//! | module | what |
//! |---|---|
//! | [`segment`] | the whole way: a slide file in, a folder of results out |
//! | [`slide`], [`tile`] | reading slides at the model's scale, in windows |
//! | [`segmenter`] | a session that turns images into probabilities |
//! | [`pipeline`], [`timing`] | windows through the network, side by side |
//! | [`instances`], [`output`] | probabilities to nuclei, nuclei to files |

pub mod instances;
pub mod output;
pub mod pipeline;
pub mod segment;
pub mod segment_cli;
pub mod segmenter;
pub mod slide;
pub mod tile;
pub mod timing;

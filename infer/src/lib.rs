//! Every nucleus of a whole slide from one ONNX file.
//!
//! | module | what |
//! |---|---|
//! | [`cohort`] | many slides in one table |
//! | [`segment`] | the whole way: a slide file in, a folder of results out |
//! | [`tile`] | windows of a slide at the model's scale |
//! | [`tissue`] | where a slide is looked at |
//! | [`model`] | the `.onnx` file: read once, checked, hashed |
//! | [`segmenter`], [`bound`] | a session that turns images into probabilities, and the buffers that it keeps |
//! | [`pipeline`], [`timing`] | windows through the network, side by side |
//! | [`instances`], [`output`] | probabilities to nuclei, nuclei to files |
//! | [`memory`] | large blocks go back to the system at once |
//! | [`quality`] | is the slide what the model was made for? |
//! | [`speed`] | how fast each stage is on this machine |
//! | [`choose`] | the device that `auto` stands for here |
//! | [`verify`], [`golden`], [`certificate`] | does this file give sound results on this machine? |
//! | [`signature`] | who made it? |
//! | [`runtime`] | native libraries: found, installed, loaded; devices |
//! | [`watcher`] | inner values of a network, for the exporter |

pub mod bound;
pub mod certificate;
pub mod choose;
pub mod cohort;
pub mod golden;
pub mod instances;
pub mod memory;
pub mod model;
pub mod output;
pub mod pipeline;
pub mod quality;
pub mod runtime;
pub mod segment;
pub mod segment_cli;
pub mod segmenter;
pub mod signature;
pub mod speed;
pub mod tile;
pub mod timing;
pub mod tissue;
pub mod verify;
pub mod watcher;

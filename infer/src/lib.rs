//! Every nucleus of a whole slide from one ONNX file.

pub mod instances;
pub mod segmenter;
pub mod slide;
pub mod tile;

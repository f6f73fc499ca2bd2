//! Every nucleus of a whole slide from one ONNX file.
//!
//! A program begins with [`Finder`]: a model that is checked, an image in memory or a slide, nuclei as a list, through a callback or as
//! files. Errors have a [`Error::kind`] and a hint.
//!
//! | module | contents |
//! |---|---|
//! | [`finder`] | entry points of the library: a model ready to run, one pass over a slide |
//! | [`segment`] | segmentation of slides to folders of results, as `infer segment` does it |
//! | [`cohort`] | many slides in one table |
//! | [`tile`], [`pipeline`], [`timing`] | windows of a slide, their pipeline through the network, time of each stage |
//! | [`tissue`] | the analysed part of a slide |
//! | [`model`] | model file: read once, checked, hashed |
//! | [`network`], [`segmenter`] | interface of networks, its implementation for models |
//! | `session`, [`bound`] | ONNX Runtime session with reused buffers |
//! | [`instances`], [`output`], [`pyramid`] | extraction of nuclei from probabilities, output files, tiled pyramidal TIFF files |
//! | [`memory`] | setting of the system's allocator |
//! | [`quality`] | comparison of a slide with the images that the model was made for |
//! | [`speed`] | rate of each stage on this machine |
//! | [`choose`] | choice of the device for `auto` |
//! | [`verify`], [`golden`], [`certificate`] | proof that a model gives sound results on this machine |
//! | [`signature`] | signatures of model files |
//! | [`runtime`] | search, installation and loading of native libraries; devices |
//! | [`watcher`] | inner values of a network, for the exporter |

#![warn(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "onnxruntime")]
pub mod bound;
pub mod certificate;
pub mod choose;
pub mod cohort;
pub mod finder;
pub mod golden;
pub mod instances;
pub mod memory;
pub mod model;
pub mod network;
pub mod output;
pub mod pipeline;
pub mod pyramid;
pub mod quality;
pub mod runtime;
pub mod segment;
pub mod segmenter;
#[cfg(feature = "onnxruntime")]
mod session;
pub mod signature;
pub mod speed;
pub mod tile;
pub mod timing;
pub mod tissue;
pub mod verify;
#[cfg(feature = "onnxruntime")]
pub mod watcher;

pub use finder::{Finder, FinderBuilder, Walk, open_slide};
pub use output::{ExtraOutput, Nucleus};
pub use runtime::{Device, Precision};
pub use segment::{Halo, Regions, Visit};
pub use slides::{Image, Level, PixelSlide, Pixels, Rgb, Slide};
pub use support::{Error, ErrorKind, Result};
pub use tissue::region::Region;

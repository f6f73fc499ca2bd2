//! Training: from scribbles on a few images to a checkpoint.
//!
//! | module | contents |
//! |---|---|
//! | [`config`], [`data`], [`scribble`], [`augment`] | inputs: configuration, images, scribbles, augmentation |
//! | [`network`], [`loss`], [`optimizer`], [`step`], [`parallel`] | one optimiser step, on one device or several |
//! | [`fit`], [`checkpoint`], [`log`], [`run_folder`], [`report`], [`tensorboard`] | a training run and the files in its folder |
//! | [`predict`], [`evaluate`], [`metrics`], [`overlay`] | probabilities of whole images, their scores and pictures |
//! | [`folds`], [`label_budget`], [`compare`] | experiments over several runs |
//! | [`init`], [`check`], [`make_scribbles`], [`export_scribbles`], [`import`], [`pretrained`], [`suggest`] | preparation of data and weights |

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod alignment;
pub mod augment;
pub mod check;
pub mod checkpoint;
pub mod compare;
pub mod config;
pub mod data;
pub mod evaluate;
pub mod export_scribbles;
pub mod fit;
pub mod fitted_decoding;
pub mod folds;
pub mod import;
pub mod init;
pub mod initial;
pub mod label_budget;
pub mod log;
pub mod loss;
pub mod make_scribbles;
pub mod metrics;
pub mod network;
pub mod optimizer;
pub mod overlay;
pub mod parallel;
pub mod parity_reference;
pub mod predict;
pub mod pretrained;
pub mod pseudo_labels;
pub mod report;
pub mod rng;
pub mod run_folder;
pub mod scored_run;
pub mod scribble;
pub mod scribble_values;
pub mod step;
pub mod suggest;
pub mod tensorboard;
pub mod thread_pool;
pub mod weight_average;

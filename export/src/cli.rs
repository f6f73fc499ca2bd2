//! The command line of `export`. clap stops at `main`: the library sees typed values only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// From a checkpoint to one ONNX file with its model card.
///
/// `export` is also a builtin of shells: call this program by its path or through cargo. Results go to stdout, everything else to
/// stderr. Exit code 0: done; 1: an error; 2: a wrong command line.
#[derive(Parser)]
#[command(name = "export", version, propagate_version = true)]
pub struct Cli {
    /// More messages; twice for everything.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Only warnings and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Write a checkpoint as an ONNX file.
    Onnx(OnnxArgs),
    /// Check that a file opens, its card parses and its results are sound.
    Verify {
        /// The .onnx file.
        model: PathBuf,
        /// ONNX Runtime's library or its folder.
        #[arg(long, value_name = "LIB")]
        runtime: Option<PathBuf>,
    },
    /// Show the model card.
    Card {
        /// The .onnx file.
        model: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `export onnx`.
#[derive(Args)]
pub struct OnnxArgs {
    /// The checkpoint: safetensors of a run, or of a `segmentation_models.pytorch` U-Net on ResNet-34.
    pub checkpoint: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The model's name [default: that of the run, or of the checkpoint's file].
    #[arg(long)]
    pub name: Option<String>,
    /// Images or folders to measure the effective reach on [default: the run's images].
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    pub tiles: Vec<PathBuf>,
    /// Scale of the training images [default: that of the run].
    #[arg(long, value_name = "X")]
    pub microns_per_pixel: Option<f64>,
    /// Export weights that are NaN or infinite all the same.
    #[arg(long)]
    pub force: bool,
    /// ONNX Runtime's library or its folder [default: `NUCLEI_ONNXRUNTIME`, `ORT_DYLIB_PATH`, lib/ beside the program, the cache].
    #[arg(long, value_name = "LIB")]
    pub runtime: Option<PathBuf>,
}

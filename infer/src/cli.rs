//! The command line of `infer`. clap stops at `main`: the library sees typed values only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use infer::runtime::{Device, Precision};
use infer::segment_cli::SegmentArgs;
use infer::segmenter::Options;
use support::verbosity::Verbosity;

/// Every nucleus of a whole slide from one ONNX file.
///
/// Results go to files and, with --json, to stdout; everything else goes to stderr. Exit code 0: done; 1: an error; 2: a wrong command line; 3: done, but more
/// than 5 % of a slide could not be read; 130 or 143: stopped by a signal.
#[derive(Parser)]
#[command(name = "infer", version, propagate_version = true)]
pub struct Cli {
    /// Messages on stderr.
    #[command(flatten)]
    pub verbosity: Verbosity,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Find every nucleus of slides.
    ///
    /// Writes OUT/SLIDE/ with nuclei.geojson.gz (QuPath), nuclei.csv, mask.tif, probability.tif, labels.png, overlay.png, quality.tif
    /// and, last, summary.json.
    Segment(Box<SegmentCommand>),
    /// Put the results of many slides into one table: OUT/cohort.csv, and Markdown on stdout.
    ///
    /// Exit code 3 where a slide is incomplete or not finished.
    Cohort {
        /// The folder that `infer segment -o` wrote to.
        out: PathBuf,
    },
    /// Check that a model gives sound results on this machine.
    Verify(VerifyArgs),
    /// Install or list the native libraries.
    #[command(subcommand)]
    Runtime(RuntimeCommand),
    /// Say what is here, what is missing and what to type.
    Doctor {
        /// Run this model for a minute too: how fast is each stage of a slide here, and which one limits?
        #[arg(long, value_name = "MODEL")]
        speed: Option<PathBuf>,
    },
    /// Read a slide by OpenSlide for another process, over stdin and stdout.
    #[command(hide = true)]
    SlideServer {
        /// The slide.
        slide: PathBuf,
        /// The OpenSlide library.
        #[arg(long, value_name = "LIB")]
        openslide: Option<PathBuf>,
    },
}

/// Arguments of `infer segment`.
#[derive(Args)]
pub struct SegmentCommand {
    /// What is segmented, and how.
    #[command(flatten)]
    pub segment: SegmentArgs,
    /// How the model is run.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Sessions of the model that run side by side, each with its own threads (on a GPU its own stream) and memory [default: 2 on cuda, and
    /// where ONNX Runtime runs the network on the CPU on tiles of at most 1024 px; else 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub sessions: Option<u16>,
    /// The public key that must have signed the model [default: trusted.pub beside the program, if it is there].
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// How a model is run.
#[derive(Args)]
pub struct DeviceArgs {
    /// auto, native, cpu, openvino, cuda or tensorrt; a device that is not there is an error. native is this program's own kernels, f32 on any
    /// CPU, without ONNX Runtime. auto takes the first of tensorrt, cuda, openvino (on CPUs with AMX), native and cpu that is here and on which
    /// the model's golden tiles come out right.
    #[arg(long, default_value = "auto", value_parser = device)]
    pub device: Device,
    /// f32, or bf16 on openvino: several times faster where the CPU has AMX, some pixels in 10,000 change side [default: f32; bf16 where auto
    /// takes openvino].
    #[arg(long, value_parser = precision)]
    pub precision: Option<Precision>,
    /// Threads of the network; 0: all cores.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// ONNX Runtime's library or its folder [default: `NUCLEI_ONNXRUNTIME`, `ORT_DYLIB_PATH`, lib/ beside the program, the cache].
    #[arg(long, value_name = "LIB")]
    pub runtime: Option<PathBuf>,
}

impl DeviceArgs {
    /// As the library takes them.
    pub fn options(&self) -> Options {
        Options {
            device: self.device,
            threads: self.threads,
            precision: self.precision.unwrap_or_default(),
            spin: false,
            runtime: self.runtime.clone(),
        }
    }
}

/// Arguments of `infer verify`.
#[derive(Args)]
pub struct VerifyArgs {
    /// The .onnx file.
    pub model: PathBuf,
    /// How to run it.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// The public key that must have signed it [default: trusted.pub beside the program, if it is there].
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Write what was tried and how it came out, as JSON.
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
}

/// Native libraries.
#[derive(Subcommand)]
pub enum RuntimeCommand {
    /// Fetch pinned packages with the user's own pip, check their sha256 and put the libraries into the cache.
    Install {
        /// Take the wheels from this folder: for machines without network.
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
        /// `OpenVINO` too (53 MB): several times faster on Intel's CPUs with AMX.
        #[arg(long)]
        openvino: bool,
        /// An ONNX Runtime for NVIDIA GPUs too, with CUDA 13 and cuDNN 9 (1.2 GB to fetch, 1.7 GB on disk, in `cuda/` of the folder). The
        /// driver must be 580 or newer; TensorRT's own libraries are not among them.
        #[arg(long)]
        cuda: bool,
        /// Only what runs on any CPU: what is installed anyway.
        #[arg(long, conflicts_with_all = ["openvino", "cuda"])]
        cpu: bool,
        /// Put the libraries here instead of the cache; `lib` beside the program is found by it.
        #[arg(long, visible_alias = "dest", value_name = "DIR")]
        into: Option<PathBuf>,
    },
    /// Show which libraries are found, and where.
    List,
}

fn precision(text: &str) -> Result<Precision, String> {
    text.parse().map_err(|error: support::Error| error.to_string())
}

fn device(text: &str) -> Result<Device, String> {
    text.parse().map_err(|error: support::Error| error.to_string())
}

//! The command line of `export`. clap stops at `main`: the library sees typed values only.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use models::card::{Precision, Target};
use support::verbosity::Verbosity;

/// From a checkpoint to one ONNX file with its model card.
///
/// `export` is also a builtin of shells: call this program by its path or through cargo. Results go to stdout, everything else to
/// stderr. Exit code 0: done; 1: an error; 2: a wrong command line.
#[derive(Parser)]
#[command(name = "export", version, propagate_version = true)]
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
    /// Write a checkpoint as an ONNX file.
    Onnx(OnnxArgs),
    /// Check that a file opens, its card parses, its signature holds and its results are sound.
    Verify {
        /// The .onnx file.
        model: PathBuf,
        /// The public key that must have signed it.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// ONNX Runtime's library or its folder.
        #[arg(long, value_name = "LIB")]
        runtime: Option<PathBuf>,
    },
    /// Show the model card.
    Card {
        /// The .onnx file.
        model: PathBuf,
        /// As what.
        #[arg(long, value_enum, default_value_t = CardFormat::Markdown)]
        format: CardFormat,
        /// As JSON: the same as --format json.
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Make a pair of Ed25519 keys: NAME.key, which signs, and NAME.pub, which checks.
    Keygen {
        /// Path of the keys without its extension.
        name: PathBuf,
        /// How the secret key is kept.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Sign a model: writes MODEL.minisig beside it.
    Sign {
        /// The .onnx file.
        model: PathBuf,
        /// The secret key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// How the secret key is kept.
        #[command(flatten)]
        password: PasswordArgs,
    },
}

/// How a card is shown.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardFormat {
    /// For people.
    Markdown,
    /// All of it.
    Json,
    /// The keys of `WSInfer`'s config.json.
    Wsinfer,
    /// The keys of a MONAI bundle's metadata.json.
    Monai,
}

/// Where the password of a secret key comes from; it is asked for on the terminal without either.
#[derive(Args)]
pub struct PasswordArgs {
    /// The key is not encrypted: whoever reads the file can sign.
    #[arg(long)]
    pub plain: bool,
    /// The password is the first line of this file.
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    pub password_file: Option<PathBuf>,
}

/// Arguments of `export onnx`.
#[derive(Args)]
pub struct OnnxArgs {
    /// The checkpoint: safetensors of a run, or of a `segmentation_models.pytorch` U-Net on ResNet-34.
    pub checkpoint: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The model's name [default: the checkpoint's own, else that of its file or, for best and last, of the run's folder].
    #[arg(long)]
    pub name: Option<String>,
    /// A TOML file with name, version, modality, stain, `microns_per_pixel`, licence, `intended_use`, limits for the model card.
    #[arg(long, value_name = "FILE")]
    pub about: Option<PathBuf>,
    /// Images or folders to measure on [default: the run's images].
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    pub tiles: Vec<PathBuf>,
    /// Scale of the training images [default: that of the run].
    #[arg(long, value_name = "X")]
    pub microns_per_pixel: Option<f64>,
    /// What is going to run the model: cpu, openvino, cuda or tensorrt. It runs on the others too.
    #[arg(long, default_value = "cpu", value_parser = parse::<Target>)]
    pub target: Target,
    /// Arithmetic of the convolutions: f32; f16 for GPUs; int8 for CPUs without AMX, calibrated on the tiles.
    #[arg(long, default_value = "f32", value_parser = parse::<Precision>)]
    pub precision: Precision,
    /// The share of pixels that may change side against the plain graph in f32.
    #[arg(long, default_value_t = 0.01, value_name = "SHARE")]
    pub max_flipped: f64,
    /// Put no golden tiles into the file: two tiles of 256 x 256 of the images, with what must come of them.
    #[arg(long)]
    pub no_golden_tiles: bool,
    /// Export weights that are NaN or infinite all the same.
    #[arg(long)]
    pub force: bool,
    /// ONNX Runtime's library or its folder [default: `NUCLEI_ONNXRUNTIME`, `ORT_DYLIB_PATH`, lib/ beside the program, the cache].
    #[arg(long, value_name = "LIB")]
    pub runtime: Option<PathBuf>,
}

fn parse<T: std::str::FromStr<Err = support::Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: support::Error| error.to_string())
}

//! The command line of `export`. Only the program uses clap; the library takes typed options.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use models::card::{Precision, Target};
use support::verbosity::Verbosity;

/// Export a checkpoint to one ONNX file with its model card.
///
/// Shells have a builtin named `export`: call this program by its path or through cargo. Results go to stdout, everything else to
/// stderr. Exit codes: 0 success, 1 error, 2 invalid command line.
#[derive(Parser)]
#[command(name = "export", version = provenance::VERSION, propagate_version = true)]
pub struct Cli {
    /// Messages on stderr.
    #[command(flatten)]
    pub verbosity: Verbosity,
    /// Subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands of `export`.
#[derive(Subcommand)]
pub enum Command {
    /// Write a checkpoint as an ONNX file.
    Onnx(OnnxArgs),
    /// Check a model file: seal, card, signature and golden tiles.
    Verify {
        /// Model file (.onnx).
        model: PathBuf,
        /// Public key that the model must be signed with.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// ONNX Runtime's library or the folder that holds it.
        #[arg(long, value_name = "LIB")]
        runtime: Option<PathBuf>,
    },
    /// Show the model card.
    Card {
        /// Model file (.onnx).
        model: PathBuf,
        /// Output format.
        #[arg(long, value_enum, default_value_t = CardFormat::Markdown)]
        format: CardFormat,
        /// Print JSON; the same as --format json.
        #[arg(long, conflicts_with = "format")]
        json: bool,
    },
    /// Make a pair of Ed25519 keys: NAME.key to sign with, NAME.pub to check with.
    Keygen {
        /// Path of the key files without extension.
        name: PathBuf,
        /// Protection of the secret key.
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Sign a model; writes MODEL.minisig beside it.
    Sign {
        /// Model file (.onnx).
        model: PathBuf,
        /// Secret key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Protection of the secret key.
        #[command(flatten)]
        password: PasswordArgs,
    },
}

/// Output formats of `export card`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardFormat {
    /// Markdown for people.
    Markdown,
    /// The whole card as JSON.
    Json,
    /// The entries of `WSInfer`'s config.json.
    Wsinfer,
    /// The entries of a MONAI bundle's metadata.json.
    Monai,
}

/// Source of a secret key's password; without either option the terminal asks for it.
#[derive(Args)]
pub struct PasswordArgs {
    /// Do not encrypt the key: anyone who can read the file can sign.
    #[arg(long)]
    pub plain: bool,
    /// Read the password from the first line of this file.
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    pub password_file: Option<PathBuf>,
}

/// Arguments of `export onnx`.
#[derive(Args)]
pub struct OnnxArgs {
    /// Checkpoint: safetensors of a training run, or of a `segmentation_models.pytorch` U-Net (ResNet-34 or `MobileNetV2`).
    pub checkpoint: PathBuf,
    /// Model file to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Name of the model [default: the checkpoint's own, else its file name, or the run's folder for best and last].
    #[arg(long)]
    pub name: Option<String>,
    /// TOML file with entries of the model card: name, version, modality, stain, `microns_per_pixel`, licence, `intended_use`, limits.
    #[arg(long, value_name = "FILE")]
    pub about: Option<PathBuf>,
    /// Images or folders to measure on [default: the run's training images].
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    pub tiles: Vec<PathBuf>,
    /// Scale of the training images in µm per pixel [default: that of the run].
    #[arg(long, value_name = "X")]
    pub microns_per_pixel: Option<f64>,
    /// Runtime to write the model for: cpu, openvino, cuda or tensorrt; the file runs on the others too.
    #[arg(long, default_value = "cpu", value_parser = parse::<Target>)]
    pub target: Target,
    /// Arithmetic of the convolutions: f32, f16 (for GPUs), or int8 (for CPUs without AMX; calibrated on the tiles).
    #[arg(long, default_value = "f32", value_parser = parse::<Precision>)]
    pub precision: Precision,
    /// Largest allowed fraction of pixels that change between nucleus and background, relative to the plain graph in f32.
    #[arg(long, default_value_t = 0.01, value_name = "SHARE")]
    pub max_flipped: f64,
    /// Leave out the golden tiles: two image tiles of 256 x 256 pixels with their expected probabilities.
    #[arg(long)]
    pub no_golden_tiles: bool,
    /// Export weights even if some are NaN or infinite.
    #[arg(long)]
    pub force: bool,
    /// ONNX Runtime's library or the folder that holds it [default: `NUCLEI_ONNXRUNTIME`, `ORT_DYLIB_PATH`, lib/ beside the program, the cache].
    #[arg(long, value_name = "LIB")]
    pub runtime: Option<PathBuf>,
}

fn parse<T: std::str::FromStr<Err = support::Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: support::Error| error.to_string())
}

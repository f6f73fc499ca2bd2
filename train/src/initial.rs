//! Weights of other programs as a start: torchvision's ResNet-34, or a U-Net of `segmentation_models.pytorch`.

use std::path::Path;

use models::weights::Weights;
use models::{Result, bail};

/// torchvision calls the encoder's weights `layer1.0.conv1.weight`; here and in smp they are `encoder.layer1.0.conv1.weight`.
pub fn with_encoder_prefix(arrays: Weights) -> Weights {
    let is_torchvision = arrays.contains_key("conv1.weight") && !arrays.contains_key("encoder.conv1.weight");
    if !is_torchvision {
        return arrays;
    }
    arrays.into_iter().filter(|(name, _)| !name.starts_with("fc.")).map(|(name, array)| (format!("encoder.{name}"), array)).collect()
}

/// What the model card says of the start; an error if a file was given and nothing in it fits.
pub fn describe(file: Option<&Path>, arrays: usize, used: usize) -> Result<Option<String>> {
    match file {
        None => {
            tracing::info!("training from scratch; pretrained weights are given by --set run.init=FILE");
            Ok(None)
        }
        Some(path) if used == 0 => {
            bail!("{}: none of its {arrays} arrays fits the network by name and shape", path.display(); hint: "expected a safetensors file with the names of torchvision's resnet34 or of segmentation_models.pytorch")
        }
        Some(path) => {
            tracing::info!("starting from {}: {used} of {arrays} arrays fit the network", path.display());
            Ok(Some(path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())))
        }
    }
}

//! Architecture of a checkpoint's network: derived from the shapes of its arrays, checked, and brought to two logits.

use models::unet::{Encoder, UNetConfig};
use models::weights::{Array, Weights};
use support::{Error, Result, bail};

/// Derives the architecture from the shapes of a state dict of `segmentation_models.pytorch`.
pub fn from_shapes(weights: &Weights) -> Result<UNetConfig> {
    let extent = |name: String, axis: usize| match weights.get(&name).map(|array| array.shape.as_slice()) {
        Some(shape) if shape.len() == 4 => Ok(shape[axis]),
        Some(shape) => Err(Error::new(format!("{name}: expected four extents, found {shape:?}"))),
        None => Err(Error::new(format!("{name}: missing, and the file does not say which network it is for"))
            .hint("a safetensors file of a segmentation_models.pytorch U-Net with the encoder resnet34 or mobilenet_v2 is expected")),
    };
    // Output channels of the first convolution in the published encoders.
    let (encoder, published_channels) =
        if weights.contains_key(Encoder::MobileNetV2.first_parameter()) { (Encoder::MobileNetV2, 32) } else { (Encoder::ResNet34, 64) };
    let mut config = UNetConfig {
        encoder,
        encoder_width: extent(encoder.first_parameter().into(), 0)? * 64 / published_channels,
        classes: extent("segmentation_head.0.weight".into(), 0)?,
        head_kernel: extent("segmentation_head.0.weight".into(), 2)?,
        ..UNetConfig::default()
    };
    for (i, channels) in config.decoder_channels.iter_mut().enumerate() {
        *channels = extent(format!("decoder.blocks.{i}.conv1.0.weight"), 0)?;
    }
    Ok(config)
}

/// Turns a network with one logit z into one with the two logits 0 and z, because both give the probability sigmoid(z).
pub fn one_logit_to_two(mut config: UNetConfig, weights: &mut Weights) -> UNetConfig {
    if config.classes == 1 {
        config.classes = 2;
        for suffix in ["weight", "bias"] {
            if let Some(Array { shape, data }) = weights.get_mut(&format!("segmentation_head.0.{suffix}"))
                && shape.first() == Some(&1)
            {
                shape[0] = 2;
                data.splice(0..0, vec![0.0; data.len()]);
            }
        }
    }
    config
}

/// Refuses sizes that no real network has, and other numbers of classes than two.
pub fn check(config: &UNetConfig) -> Result<()> {
    let UNetConfig { encoder: _, encoder_width, decoder_channels, classes, head_kernel } = config;
    let plausible = |n: &usize| (1..=4096).contains(n);
    if !plausible(encoder_width) || !decoder_channels.iter().all(plausible) || head_kernel % 2 == 0 || *head_kernel > 15 {
        bail!("the network's shape is not plausible: {config:?}");
    }
    if *classes != 2 {
        bail!("the network has {classes} classes, expected 2: background and nucleus");
    }
    Ok(())
}

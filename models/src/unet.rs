//! U-Net (Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015) with a choice of encoders, and the projection heads of the contrastive loss.

use serde::{Deserialize, Serialize};

use crate::graph::{Builder, Graph};
use crate::mobilenet::mobilenet_v2;
use crate::resnet::resnet34;

/// Encoders of [`unet`]; each returns feature maps at the strides 2, 4, 8, 16 and 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoder {
    /// [`resnet34`], the encoder of the papers.
    #[default]
    #[serde(rename = "resnet34")]
    ResNet34,
    /// [`mobilenet_v2`], with a tenth of the parameters.
    #[serde(rename = "mobilenet_v2")]
    MobileNetV2,
}

impl Encoder {
    /// Returns the name in configurations, `segmentation_models.pytorch` and torchvision.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResNet34 => "resnet34",
            Self::MobileNetV2 => "mobilenet_v2",
        }
    }

    /// Returns the name of the first parameter, which no other encoder has.
    pub fn first_parameter(self) -> &'static str {
        match self {
            Self::ResNet34 => "encoder.conv1.weight",
            Self::MobileNetV2 => "encoder.features.0.0.weight",
        }
    }
}

/// Architecture of the segmentation network. The default is that of the papers, with 24.4 million parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UNetConfig {
    /// Encoder; ResNet-34 for files without this entry.
    pub encoder: Encoder,
    /// Width of the encoder: 64 for the published one, whose channels other widths multiply by `encoder_width / 64`. Must be even.
    pub encoder_width: usize,
    /// Channels of the five decoder blocks, deepest first.
    pub decoder_channels: [usize; 5],
    /// Number of classes; 2, background and nucleus, in this project.
    pub classes: usize,
    /// Side of the kernel of the output convolution: 1 (this project, without bias) or 3 (`segmentation_models.pytorch`, with bias).
    pub head_kernel: usize,
}

impl Default for UNetConfig {
    fn default() -> Self {
        Self { encoder: Encoder::default(), encoder_width: 64, decoder_channels: [256, 128, 64, 32, 16], classes: 2, head_kernel: 1 }
    }
}

/// Names of the feature taps of [`unet`]: the outputs of the decoder blocks, deepest first.
pub const BLOCK_TAPS: [&str; 5] = ["block1", "block2", "block3", "block4", "block5"];

/// Builds the segmentation network: image `B 3 H W` to logits `B classes H W`, with a feature tap after every decoder block.
///
/// Node names are those of `segmentation_models.pytorch`, so that its checkpoints load.
pub fn unet(config: &UNetConfig) -> Graph {
    let builder = Builder::new();
    let image = builder.input(3);
    let mut skips = match config.encoder {
        Encoder::ResNet34 => resnet34(image, config.encoder_width),
        Encoder::MobileNetV2 => mobilenet_v2(image, config.encoder_width),
    };
    let mut x = skips.pop().expect("the encoder has five feature maps");
    let mut taps = Vec::new();
    for (i, (&channels, tap)) in config.decoder_channels.iter().zip(BLOCK_TAPS).enumerate() {
        x = x.upsample();
        if let Some(skip) = skips.pop() {
            x = x.concat(skip);
        }
        for conv in ["conv1", "conv2"] {
            let name = format!("decoder.blocks.{i}.{conv}");
            x = x.conv(format!("{name}.0"), channels, 3, 1).norm(format!("{name}.1")).relu();
        }
        taps.push((tap, x));
    }
    let logits = match config.head_kernel {
        1 => x.conv("segmentation_head.0", config.classes, 1, 1),
        kernel => x.conv_bias("segmentation_head.0", config.classes, kernel, 1),
    };
    builder.finish(logits, &taps)
}

/// Builds a projection head for the contrastive loss (ISBI 2022, section 2.2): `B inputs H W` to `B outputs H W`, used in training only.
///
/// Two 1x1 convolutions, each with batch normalisation, named `projection.<name>.{0,1,3,4}`.
pub fn projection(name: &str, inputs: usize, hidden: usize, outputs: usize) -> Graph {
    let builder = Builder::new();
    let at = |layer: usize| format!("projection.{name}.{layer}");
    let x = builder.input(inputs).conv(at(0), hidden, 1, 1).norm(at(1)).relu();
    let z = x.conv(at(3), outputs, 1, 1).norm(at(4));
    builder.finish(z, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Feature, Role};

    #[test]
    fn the_default_network_has_the_size_of_the_published_one() {
        let graph = unet(&UNetConfig::default());
        let parameters = graph.parameters();
        let learned: usize = parameters.iter().filter(|p| p.role.is_learned()).map(super::super::graph::Parameter::count).sum();
        // segmentation_models.pytorch 0.5 has 24,436,369 with its 3x3 head for one class (145 parameters); the head here has 32.
        assert_eq!(learned, 24_436_369 - 145 + 32);
        assert_eq!(graph.stride(), 32);
        assert_eq!(graph.reach(), 544);
        let giga = graph.macs(256, 256).unwrap() as f64 / 1e9;
        assert!((giga - 7.81).abs() < 0.02, "{giga} GMAC");
    }

    #[test]
    fn the_mobilenet_network_has_the_size_of_that_of_segmentation_models_pytorch() {
        let graph = unet(&UNetConfig { encoder: Encoder::MobileNetV2, ..UNetConfig::default() });
        let parameters = graph.parameters();
        let learned: usize = parameters.iter().filter(|p| p.role.is_learned()).map(super::super::graph::Parameter::count).sum();
        // segmentation_models.pytorch 0.5 has 6,628,945 with its 3x3 head for one class (145 parameters); 374 arrays with 62 counters and the head's bias.
        assert_eq!(learned, 6_628_945 - 145 + 32);
        assert_eq!(parameters.len(), 374 - 62 - 1);
        assert_eq!((graph.stride(), graph.reach()), (32, 320));
        let giga = graph.macs(256, 256).unwrap() as f64 / 1e9;
        assert!((giga - 3.35).abs() < 0.02, "{giga} GMAC");
    }

    #[test]
    fn a_config_without_an_encoder_means_resnet34() {
        let config: UNetConfig = serde_json::from_str(r#"{"encoder_width":32}"#).unwrap();
        assert_eq!(config, UNetConfig { encoder_width: 32, ..UNetConfig::default() });
        let error = serde_json::from_str::<UNetConfig>(r#"{"encoder":"resnet50"}"#).unwrap_err().to_string();
        assert!(error.contains("mobilenet_v2") && error.contains("resnet50"), "{error}");
        for encoder in [Encoder::ResNet34, Encoder::MobileNetV2] {
            let graph = unet(&UNetConfig { encoder, ..UNetConfig::default() });
            assert_eq!(graph.parameters()[0].name, encoder.first_parameter());
            assert_eq!(serde_json::to_string(&encoder).unwrap(), format!("{:?}", encoder.name()));
        }
    }

    #[test]
    fn feature_taps_and_parameters_have_the_expected_names_and_shapes() {
        let graph = unet(&UNetConfig::default());
        let shapes = graph.shapes(64, 96).unwrap();
        assert_eq!(shapes[graph.feature_tap("block3").unwrap().0], Feature { channels: 64, height: 16, width: 24 });
        assert_eq!(shapes[graph.feature_tap("block5").unwrap().0], Feature { channels: 16, height: 64, width: 96 });
        assert_eq!(shapes[graph.output.0], Feature { channels: 2, height: 64, width: 96 });
        let has = |name: &str| graph.parameters().iter().any(|p| p.name == name);
        for name in ["encoder.layer2.0.downsample.1.running_var", "decoder.blocks.0.conv1.0.weight", "segmentation_head.0.weight"] {
            assert!(has(name), "{name}");
        }
        assert!(graph.parameters().iter().filter(|p| p.role == Role::Weight).all(|p| p.shape.len() == 4));
        assert!(graph.shapes(64, 65).unwrap_err().to_string().contains("multiples of 32"));
    }

    #[test]
    fn only_output_removes_nodes_without_readers() {
        let builder = Builder::new();
        let x = builder.input(3).conv("a", 4, 3, 1);
        let dead = x.conv("dead", 4, 3, 1);
        let graph = builder.finish(x.relu(), &[("dead", dead)]);
        let kept = graph.only_output();
        assert_eq!(kept.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["input", "a", "a.relu"]);
        assert!(kept.feature_taps.is_empty());
    }
}

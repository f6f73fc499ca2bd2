//! U-Net (Ronneberger, Fischer, Brox, MICCAI 2015) on a ResNet encoder, and the projection heads of the contrastive terms.

use serde::{Deserialize, Serialize};

use crate::graph::{Builder, Graph};
use crate::resnet::resnet34;

/// The shape of the segmentation network. The default is the paper's: 24.4 million parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UNetConfig {
    /// Channels of the encoder's first feature map; 64 in ResNet-34. Must be even.
    pub encoder_width: usize,
    /// Channels of the five decoder blocks, deepest first.
    pub decoder_channels: [usize; 5],
    /// Classes; background and nucleus.
    pub classes: usize,
    /// The head's kernel: 1 (ours, without bias) or 3 (`segmentation_models.pytorch`'s own, with bias).
    pub head_kernel: usize,
}

impl Default for UNetConfig {
    fn default() -> Self {
        Self { encoder_width: 64, decoder_channels: [256, 128, 64, 32, 16], classes: 2, head_kernel: 1 }
    }
}

/// Names of the taps of [`unet`]: the outputs of the decoder blocks, deepest first.
pub const BLOCK_TAPS: [&str; 5] = ["block1", "block2", "block3", "block4", "block5"];

/// The segmentation network: image `B 3 H W` to logits `B classes H W`, taps after every decoder block.
///
/// Node names are those of `segmentation_models.pytorch`, so its checkpoints load.
pub fn unet(config: &UNetConfig) -> Graph {
    let builder = Builder::new();
    let mut skips = resnet34(builder.input(3), config.encoder_width);
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

/// A projection head: `B inputs H W` to `B outputs H W`, read by a contrastive term (ISBI 2022, section 2.2).
///
/// Two 1x1 convolutions, each with batch normalisation, named `projection.<name>.{0,1,3,4}`. Used in training only.
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
    fn the_default_network_is_the_paper_s() {
        let graph = unet(&UNetConfig::default());
        let parameters = graph.parameters();
        let learned: usize = parameters.iter().filter(|p| p.role.is_learned()).map(super::super::graph::Parameter::count).sum();
        // segmentation_models.pytorch 0.5: 24,436,369 with its 3x3 head for one class (145 parameters); ours has 32.
        assert_eq!(learned, 24_436_369 - 145 + 32);
        assert_eq!(graph.stride(), 32);
        assert_eq!(graph.reach(), 544);
        let giga = graph.macs(256, 256).unwrap() as f64 / 1e9;
        assert!((giga - 7.81).abs() < 0.02, "{giga} GMAC");
    }

    #[test]
    fn taps_and_names_are_where_losses_and_checkpoints_look() {
        let graph = unet(&UNetConfig::default());
        let shapes = graph.shapes(64, 96).unwrap();
        assert_eq!(shapes[graph.tap("block3").unwrap().0], Feature { channels: 64, height: 16, width: 24 });
        assert_eq!(shapes[graph.tap("block5").unwrap().0], Feature { channels: 16, height: 64, width: 96 });
        assert_eq!(shapes[graph.output.0], Feature { channels: 2, height: 64, width: 96 });
        let has = |name: &str| graph.parameters().iter().any(|p| p.name == name);
        for name in ["encoder.layer2.0.downsample.1.running_var", "decoder.blocks.0.conv1.0.weight", "segmentation_head.0.weight"] {
            assert!(has(name), "{name}");
        }
        assert!(graph.parameters().iter().filter(|p| p.role == Role::Weight).all(|p| p.shape.len() == 4));
        assert!(graph.shapes(64, 65).unwrap_err().to_string().contains("multiples of 32"));
    }

    #[test]
    fn keeping_only_the_output_drops_what_nothing_reads() {
        let builder = Builder::new();
        let x = builder.input(3).conv("a", 4, 3, 1);
        let dead = x.conv("dead", 4, 3, 1);
        let graph = builder.finish(x.relu(), &[("dead", dead)]);
        let kept = graph.only_output();
        assert_eq!(kept.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["input", "a", "a.relu"]);
        assert!(kept.taps.is_empty());
    }
}

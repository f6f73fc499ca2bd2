//! `MobileNetV2` encoder for small machines, with parameter names of torchvision behind `encoder.`.

use crate::graph::Wire;

/// Expansion factor, output channels, number of blocks and stride of the first block of each stage (Sandler et al., table 2).
const STAGES: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
/// Output channels of the first and of the last convolution.
const ENDS: [usize; 2] = [32, 1280];
/// Width of the published network.
const PUBLISHED_WIDTH: usize = 64;

/// `MobileNetV2` (Sandler, Howard, Zhu, Zhmoginov, Chen, "`MobileNetV2`: Inverted Residuals and Linear Bottlenecks", CVPR 2018).
///
/// Returns the feature maps at strides 2, 4, 8, 16, 32, which have 16, 24, 32, 96 and 1280 channels for `width` 64, the published network.
/// Other widths multiply all channels by `width / 64`, except those of the last convolution for widths below 64 (section 4).
pub fn mobilenet_v2(image: Wire<'_>, width: usize) -> Vec<Wire<'_>> {
    let name = |i: usize| format!("encoder.features.{i}");
    let mut features = Vec::new();
    let mut x = norm_relu6(image.conv(format!("{}.0", name(0)), scaled(ENDS[0], width), 3, 2), &format!("{}.1", name(0)));
    let mut layer = 1;
    for (expansion, channels, blocks, stride) in STAGES {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            // The last feature map before each reduction of the resolution is an output.
            if stride == 2 {
                features.push(x);
            }
            x = inverted_residual(x, &name(layer), expansion, scaled(channels, width), stride);
            layer += 1;
        }
    }
    features.push(norm_relu6(
        x.conv(format!("{}.0", name(layer)), scaled(ENDS[1], width.max(PUBLISHED_WIDTH)), 1, 1),
        &format!("{}.1", name(layer)),
    ));
    features
}

/// Appends an inverted residual block: pointwise expansion, 3x3 depthwise convolution, pointwise projection without activation, and a shortcut
/// if input and output have the same shape.
fn inverted_residual<'b>(x: Wire<'b>, name: &str, expansion: usize, channels: usize, stride: usize) -> Wire<'b> {
    let at = |layer: usize| format!("{name}.conv.{layer}");
    let (mut y, mut layer) = (x, 0);
    if expansion != 1 {
        y = norm_relu6(y.conv(format!("{}.0", at(0)), x.channels() * expansion, 1, 1), &format!("{}.1", at(0)));
        layer = 1;
    }
    y = norm_relu6(y.depthwise(format!("{}.0", at(layer)), stride), &format!("{}.1", at(layer)));
    y = y.conv(at(layer + 1), channels, 1, 1).norm(at(layer + 2));
    if stride == 1 && x.channels() == channels { x.plus(y) } else { y }
}

/// Appends batch normalisation and `ReLU6`.
fn norm_relu6<'b>(x: Wire<'b>, norm: &str) -> Wire<'b> {
    x.norm(norm).relu6()
}

/// Returns `channels * width / 64`, rounded to the nearest multiple of 8 that is at least 8 and at least 90 % of the product.
fn scaled(channels: usize, width: usize) -> usize {
    let exact = channels * width;
    let nearest = ((exact + 4 * PUBLISHED_WIDTH) / (8 * PUBLISHED_WIDTH) * 8).max(8);
    if 10 * nearest * PUBLISHED_WIDTH < 9 * exact { nearest + 8 } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Builder, Feature, Graph, Parameter};

    fn encoder(width: usize) -> (Graph, Vec<usize>) {
        let builder = Builder::new();
        let features = mobilenet_v2(builder.input(3), width);
        let channels = features.iter().map(|feature| feature.channels()).collect();
        let names: Vec<String> = (0..features.len()).map(|i| format!("stride{}", 2 << i)).collect();
        let taps: Vec<_> = names.iter().map(String::as_str).zip(features.iter().copied()).collect();
        (builder.finish(features[4], &taps), channels)
    }

    fn learned(graph: &Graph) -> usize {
        graph.parameters().iter().filter(|p| p.role.is_learned()).map(Parameter::count).sum()
    }

    #[test]
    fn the_encoder_has_the_size_of_the_published_one() {
        let (graph, channels) = encoder(64);
        assert_eq!(channels, [16, 24, 32, 96, 1280]);
        // torchvision has 3,504,872 parameters with the classifier, whose 1280 x 1000 weights and 1000 biases are left out here.
        assert_eq!(learned(&graph), 3_504_872 - 1_281_000);
        assert_eq!(graph.stride(), 32);
        // The paper's table 4 says 300 million at 224 x 224, with the 1.28 million of the classifier.
        let mega = graph.macs(224, 224).unwrap() as f64 / 1e6;
        assert!((mega + 1.28 - 300.8).abs() < 0.1, "{mega} MMAC");
        // torchvision has 52 normalisations; all arrays of its state dict except the counters are here.
        assert_eq!(graph.parameters().len(), 52 * 5);
    }

    #[test]
    fn there_is_a_feature_map_at_every_power_of_two() {
        let (graph, channels) = encoder(64);
        let shapes = graph.shapes(64, 96).unwrap();
        for (i, channels) in channels.into_iter().enumerate() {
            let at = 2 << i;
            let found = shapes[graph.feature_tap(&format!("stride{at}")).unwrap().0];
            assert_eq!(found, Feature { channels, height: 64 / at, width: 96 / at });
        }
    }

    #[test]
    fn narrow_networks_have_the_sizes_of_the_published_ones() {
        // torchvision's mobilenet_v2(width_mult = 0.5) has 1,968,680 parameters with the classifier of 1,281,000.
        assert_eq!(learned(&encoder(32).0), 1_968_680 - 1_281_000);
        // With width_mult = 0.75 it has 2,636,424.
        assert_eq!(learned(&encoder(48).0), 2_636_424 - 1_281_000);
        assert_eq!(encoder(4).1, [8, 8, 8, 8, 1280]);
    }
}

//! `MobileNetV2`: an encoder for small machines, names as in torchvision behind `encoder.`.

use crate::graph::Wire;

/// Expansion, channels, blocks, stride of the first block (Sandler et al., table 2).
const STAGES: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
/// Channels of the first and of the last convolution.
const ENDS: [usize; 2] = [32, 1280];
/// The width that stands for the published network.
const FULL: usize = 64;

/// `MobileNetV2` (Sandler, Howard, Zhu, Zhmoginov, Chen, "`MobileNetV2`: Inverted Residuals and Linear Bottlenecks", CVPR 2018).
///
/// Returns the feature maps at strides 2, 4, 8, 16, 32; for `width` 64, the published network, they have 16, 24, 32, 96 and 1280 channels.
/// Other widths multiply channels by `width / 64`, the last convolution's only if that is more than 1 (section 4).
pub fn mobilenet_v2(image: Wire<'_>, width: usize) -> Vec<Wire<'_>> {
    let name = |i: usize| format!("encoder.features.{i}");
    let mut features = Vec::new();
    let mut x = clipped(image.conv(format!("{}.0", name(0)), scaled(ENDS[0], width), 3, 2), &format!("{}.1", name(0)));
    let mut layer = 1;
    for (expansion, channels, blocks, stride) in STAGES {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            // The last map before each halving is a feature.
            if stride == 2 {
                features.push(x);
            }
            x = inverted_residual(x, &name(layer), expansion, scaled(channels, width), stride);
            layer += 1;
        }
    }
    features.push(clipped(x.conv(format!("{}.0", name(layer)), scaled(ENDS[1], width.max(FULL)), 1, 1), &format!("{}.1", name(layer))));
    features
}

/// Pointwise expansion, a 3x3 convolution of each channel, pointwise projection without activation; a shortcut where shapes agree.
fn inverted_residual<'b>(x: Wire<'b>, name: &str, expansion: usize, channels: usize, stride: usize) -> Wire<'b> {
    let at = |layer: usize| format!("{name}.conv.{layer}");
    let (mut y, mut layer) = (x, 0);
    if expansion != 1 {
        y = clipped(y.conv(format!("{}.0", at(0)), x.channels() * expansion, 1, 1), &format!("{}.1", at(0)));
        layer = 1;
    }
    y = clipped(y.depthwise(format!("{}.0", at(layer)), stride), &format!("{}.1", at(layer)));
    y = y.conv(at(layer + 1), channels, 1, 1).norm(at(layer + 2));
    if stride == 1 && x.channels() == channels { x.plus(y) } else { y }
}

fn clipped<'b>(x: Wire<'b>, norm: &str) -> Wire<'b> {
    x.norm(norm).relu6()
}

/// Channels times `width / 64`, to the nearest multiple of 8, at least 8, and never less than 90 % of the product.
fn scaled(channels: usize, width: usize) -> usize {
    let exact = channels * width;
    let nearest = ((exact + 4 * FULL) / (8 * FULL) * 8).max(8);
    if 10 * nearest * FULL < 9 * exact { nearest + 8 } else { nearest }
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
    fn the_encoder_is_the_published_one() {
        let (graph, channels) = encoder(64);
        assert_eq!(channels, [16, 24, 32, 96, 1280]);
        // torchvision: 3,504,872 parameters with the classifier, whose 1280 x 1000 weights and 1000 biases are not here.
        assert_eq!(learned(&graph), 3_504_872 - 1_281_000);
        assert_eq!(graph.stride(), 32);
        // 300 million at 224 x 224 in the paper's table 4, the classifier's 1.28 million included.
        let mega = graph.macs(224, 224).unwrap() as f64 / 1e6;
        assert!((mega + 1.28 - 300.8).abs() < 0.1, "{mega} MMAC");
        // torchvision keeps 52 normalisations; each array of a state dict but the counters is here.
        assert_eq!(graph.parameters().len(), 52 * 5);
    }

    #[test]
    fn features_lie_at_every_power_of_two() {
        let (graph, channels) = encoder(64);
        let shapes = graph.shapes(64, 96).unwrap();
        for (i, channels) in channels.into_iter().enumerate() {
            let at = 2 << i;
            let found = shapes[graph.tap(&format!("stride{at}")).unwrap().0];
            assert_eq!(found, Feature { channels, height: 64 / at, width: 96 / at });
        }
    }

    #[test]
    fn widths_are_those_of_published_narrow_networks() {
        // torchvision's mobilenet_v2(width_mult = 0.5): 1,968,680 parameters with the classifier of 1,281,000.
        assert_eq!(learned(&encoder(32).0), 1_968_680 - 1_281_000);
        // 0.75: 2,636,424.
        assert_eq!(learned(&encoder(48).0), 2_636_424 - 1_281_000);
        assert_eq!(encoder(4).1, [8, 8, 8, 8, 1280]);
    }
}

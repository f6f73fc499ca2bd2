//! ResNet-34 encoder, with parameter names of torchvision behind `encoder.`.

use crate::graph::Wire;

/// ResNet-34 (He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, table 1).
///
/// Returns the feature maps at strides 2, 4, 8, 16, 32 with `width * (1, 1, 2, 4, 8)` channels; `width` is 64 in the paper.
pub fn resnet34(image: Wire<'_>, width: usize) -> Vec<Wire<'_>> {
    let stem = image.conv("encoder.conv1", width, 7, 2).norm("encoder.bn1").relu();
    let mut features = vec![stem];
    let mut x = stem.max_pool();
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = basic_block(x, &format!("encoder.layer{}.{block}", stage + 1), width << stage, stride);
        }
        features.push(x);
    }
    features
}

/// Appends a residual block: two 3x3 convolutions and a shortcut, which is a 1x1 convolution if the shape changes.
fn basic_block<'b>(x: Wire<'b>, name: &str, channels: usize, stride: usize) -> Wire<'b> {
    let y = x.conv(format!("{name}.conv1"), channels, 3, stride).norm(format!("{name}.bn1")).relu();
    let y = y.conv(format!("{name}.conv2"), channels, 3, 1).norm(format!("{name}.bn2"));
    let same_shape = stride == 1 && x.channels() == channels;
    let shortcut =
        if same_shape { x } else { x.conv(format!("{name}.downsample.0"), channels, 1, stride).norm(format!("{name}.downsample.1")) };
    y.plus(shortcut).relu()
}

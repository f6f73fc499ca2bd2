//! A network as operations on feature maps `B C H W` with their weights, before kernels are chosen.

use support::{Result, bail};

/// Binary logarithm of the largest resolution of a feature map relative to the image.
const MAX_LOG2_SCALE: i32 = 4;

/// Operation of a node, on feature maps `B C H W`.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The normalised image of three channels, `(v - mean) * scale`.
    Image {
        /// Mean of each channel, on the scale 0..=255.
        mean: [f32; 3],
        /// Factor of each channel.
        scale: [f32; 3],
    },
    /// Convolution of the concatenated inputs.
    Conv(Conv),
    /// Depthwise 3x3 convolution with zero padding 1.
    Depthwise(Depthwise),
    /// `x * gain + offset` for each channel.
    Affine {
        /// One value per channel.
        gain: Vec<f32>,
        /// One value per channel.
        offset: Vec<f32>,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Sum of two feature maps.
    Add,
    /// Maximum over 3x3 windows with stride 2 and padding 1.
    MaxPool,
    /// Nearest-neighbour upsampling by 2.
    Upsample,
    /// Concatenation of the inputs along channels.
    Concat,
    /// Channel 1 minus channel 0.
    Difference,
}

/// A square convolution with zero padding `kernel / 2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Number of output channels.
    pub outputs: usize,
    /// Side of the kernel, odd.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Weights `O I K K` (output channel, input channel, kernel row, kernel column).
    pub weight: Vec<f32>,
    /// One value per output channel.
    pub bias: Vec<f32>,
}

/// A 3x3 convolution of each channel by its own filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Depthwise {
    /// 1 or 2.
    pub stride: usize,
    /// Weights `C 1 3 3`.
    pub weight: Vec<f32>,
    /// One value per channel.
    pub bias: Vec<f32>,
}

/// An operation with its operands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name in the model file, for error messages.
    pub name: String,
    pub op: Op,
    /// Indices of the operands, all smaller than the index of the node.
    pub inputs: Vec<usize>,
    /// Number of channels of the result.
    pub channels: usize,
}

/// A network that computes the logit of class 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
    /// Index of the node, of one channel, whose sigmoid is the probability.
    pub logit: usize,
}

impl Net {
    /// Returns the number of readers of each node; the caller of the network is a further reader of the logit.
    pub fn reader_counts(&self) -> Vec<usize> {
        let mut reader_counts = vec![0; self.nodes.len()];
        self.nodes.iter().flat_map(|node| &node.inputs).for_each(|&input| reader_counts[input] += 1);
        reader_counts[self.logit] += 1;
        reader_counts
    }

    /// Checks that feature maps fit together for all images whose height and width are multiples of `stride`.
    ///
    /// # Errors
    /// Operands of different sizes, a feature map whose size would not be a whole number, or a logit of another size than the image.
    pub fn check_sizes(&self, stride: usize) -> Result<()> {
        // Binary logarithm of each node's resolution relative to the image.
        let mut log2_scales: Vec<i32> = Vec::with_capacity(self.nodes.len());
        for Node { name, op, inputs, .. } in &self.nodes {
            let first = inputs.first().map_or(0, |&input| log2_scales[input]);
            if inputs.iter().any(|&input| log2_scales[input] != first) {
                bail!("the node {name:?} reads feature maps of several sizes");
            }
            let log2_scale = match op {
                Op::Conv(Conv { stride: 2, .. }) | Op::Depthwise(Depthwise { stride: 2, .. }) | Op::MaxPool => first - 1,
                Op::Upsample => first + 1,
                Op::Image { .. }
                | Op::Conv(_)
                | Op::Depthwise(_)
                | Op::Affine { .. }
                | Op::Relu
                | Op::Relu6
                | Op::Add
                | Op::Concat
                | Op::Difference => first,
            };
            if log2_scale > MAX_LOG2_SCALE || (log2_scale < 0 && !stride.is_multiple_of(1 << log2_scale.unsigned_abs().min(30))) {
                bail!("the node {name:?} computes a feature map of another size than a stride of {stride} allows");
            }
            log2_scales.push(log2_scale);
        }
        if log2_scales[self.logit] != 0 {
            bail!("the logit has another size than the image");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_maps_of_different_sizes_are_an_error() {
        let node = |op: Op, inputs: &[usize]| Node { name: "n".into(), op, inputs: inputs.to_vec(), channels: 3 };
        let image = || node(Op::Image { mean: [0.0; 3], scale: [1.0; 3] }, &[]);
        let check = |nodes: Vec<Node>, stride: usize| {
            let logit = nodes.len() - 1;
            Net { nodes, logit }.check_sizes(stride).map_err(|error| error.to_string())
        };
        let halved = || vec![image(), node(Op::MaxPool, &[0])];
        let with = |mut nodes: Vec<Node>, more: Node| {
            nodes.push(more);
            nodes
        };
        assert_eq!(check(with(halved(), node(Op::Upsample, &[1])), 2), Ok(()));
        assert!(check(with(halved(), node(Op::Upsample, &[1])), 1).unwrap_err().contains("stride"));
        assert!(check(with(halved(), node(Op::Add, &[0, 1])), 2).unwrap_err().contains("several sizes"));
        assert!(check(halved(), 2).unwrap_err().contains("than the image"));
    }
}

//! A network as it is read from a file, with its weights: what is going to be computed, before it is decided how.

/// What a node computes, on maps `B C H W`.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The image: `(v - mean) * scale`, three channels.
    Image {
        /// Of values in 0..=255.
        mean: [f32; 3],
        /// What the differences are multiplied with.
        scale: [f32; 3],
    },
    /// Convolution of the channels of all inputs, one after the other.
    Conv(Conv),
    /// `x * gain + offset`, by channel.
    Affine {
        /// One for each channel.
        gain: Vec<f32>,
        /// One for each channel.
        offset: Vec<f32>,
    },
    /// `max(x, 0)`.
    Relu,
    /// Sum of two maps.
    Add,
    /// Maximum over 3x3 windows, stride 2, padding 1.
    MaxPool,
    /// Each pixel becomes 2x2.
    Upsample,
    /// Channels of the inputs, one after the other.
    Concat,
    /// Channel 1 minus channel 0.
    Difference,
}

/// A square convolution with zero padding `kernel / 2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Channels out.
    pub outputs: usize,
    /// Side, odd.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// `O I K K`.
    pub weight: Vec<f32>,
    /// One for each channel out.
    pub bias: Vec<f32>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// As in the file.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Positions of what it reads, all earlier.
    pub inputs: Vec<usize>,
    /// Channels of its value.
    pub channels: usize,
}

/// Nodes in an order in which each follows its inputs; the last one that counts gives the logit of class 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// In topological order.
    pub nodes: Vec<Node>,
    /// The node of one channel whose sigmoid is the probability.
    pub logit: usize,
}

impl Net {
    /// How many nodes read each value; the logit is read once more, by whoever asked.
    pub fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.nodes.len()];
        self.nodes.iter().flat_map(|node| &node.inputs).for_each(|&input| readers[input] += 1);
        readers[self.logit] += 1;
        readers
    }

    /// Values in all weights.
    pub fn parameters(&self) -> usize {
        let of = |op: &Op| match op {
            Op::Conv(conv) => conv.weight.len() + conv.bias.len(),
            Op::Affine { gain, offset } => gain.len() + offset.len(),
            Op::Image { .. } | Op::Relu | Op::Add | Op::MaxPool | Op::Upsample | Op::Concat | Op::Difference => 0,
        };
        self.nodes.iter().map(|node| of(&node.op)).sum()
    }
}

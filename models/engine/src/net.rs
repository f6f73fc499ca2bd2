//! A network as it is read from a file, with its weights: what is going to be computed, before it is decided how.

use support::{Result, bail};

/// Maps are at most so many doublings larger than the image.
const MOST_DOUBLINGS: i32 = 4;

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
    /// 3x3 convolution of each channel by itself, zero padding 1.
    Depthwise(Depthwise),
    /// `x * gain + offset`, by channel.
    Affine {
        /// One for each channel.
        gain: Vec<f32>,
        /// One for each channel.
        offset: Vec<f32>,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
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

/// One 3x3 filter for each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Depthwise {
    /// 1 or 2.
    pub stride: usize,
    /// `C 1 3 3`.
    pub weight: Vec<f32>,
    /// One for each channel.
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

    /// An error where maps that meet have other sizes, or the logit another than the image, whose extents are multiples of `stride`.
    pub fn check_sizes(&self, stride: usize) -> Result<()> {
        // How often a map was doubled, less how often it was halved.
        let mut doublings: Vec<i32> = Vec::with_capacity(self.nodes.len());
        for Node { name, op, inputs, .. } in &self.nodes {
            let first = inputs.first().map_or(0, |&input| doublings[input]);
            if inputs.iter().any(|&input| doublings[input] != first) {
                bail!("the node {name:?} reads maps of several sizes");
            }
            let own = match op {
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
            if own > MOST_DOUBLINGS || (own < 0 && !stride.is_multiple_of(1 << own.unsigned_abs().min(30))) {
                bail!("the node {name:?} gives maps of another size than a stride of {stride} allows");
            }
            doublings.push(own);
        }
        if doublings[self.logit] != 0 {
            bail!("the logit has another size than the image");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_do_not_fit_together_are_found_before_they_meet() {
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

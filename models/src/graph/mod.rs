//! The network as data. Training, the inference engine, ONNX encoding, shapes and receptive field are interpreters of a [`Graph`].

mod builder;
mod measure;
mod reach;

pub use builder::{Builder, Wire};
pub use measure::{Feature, Parameter, Role};

/// Operation of a node. Feature maps are `B C H W`. Interpreters match without `_`, so that a new operation cannot be forgotten in one.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Network input as floating-point features.
    Input {
        /// Number of channels.
        channels: usize,
    },
    /// Network input as an image, u8 `B H W C`, converted to f32 `B C H W`: `(v / 255 - mean) / std`.
    InputImage {
        /// Mean of each channel, for values in 0..=1.
        mean: [f32; 3],
        /// Standard deviation of each channel, for values in 0..=1.
        std: [f32; 3],
    },
    /// Convolution, zero padding of `kernel / 2`. Parameters `weight` (`out in k k`) and, with `bias`, `bias` (`out`).
    Conv(Conv),
    /// 3x3 depthwise convolution, zero padding of 1. Parameters `weight` (`C 1 3 3`) and, with `bias`, `bias` (`C`).
    Depthwise(Depthwise),
    /// Fusion of [`Op::Upsample`] and the 3x3 convolution after it; made by the exporter, not trained.
    UpConv(UpConv),
    /// Batch normalisation. Parameters `weight`, `bias`, `running_mean`, `running_var`, each `C`.
    BatchNorm {
        /// Number of channels.
        channels: usize,
        /// Constant that is added to the variance.
        eps: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Sum of two feature maps of the same shape.
    Add,
    /// Max pooling over 3x3 windows, stride 2; padding of 1 that is never the maximum.
    MaxPool,
    /// Nearest-neighbour upsampling by 2.
    Upsample,
    /// Concatenation of the channels of two feature maps of the same height and width.
    Concat,
    /// Probability of class 1 from two logits, `sigmoid(z1 - z0)`, or from one, `sigmoid(z)`; `B 1 H W`.
    Probability,
    /// Quantised probability: `round(255 p)` as u8, ties to even; same shape.
    Quantise,
}

/// A convolution with a square kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the kernel, odd; padding is `kernel / 2`.
    pub kernel: usize,
    /// Stride, 1 or 2.
    pub stride: usize,
    /// Adds a bias.
    pub bias: bool,
}

/// A 3x3 depthwise convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depthwise {
    /// Input and output channels.
    pub channels: usize,
    /// Stride, 1 or 2.
    pub stride: usize,
    /// Adds a bias.
    pub bias: bool,
}

/// Nearest-neighbour upsampling by 2, then a 3x3 convolution with stride 1 and zero padding 1.
///
/// The result equals a transposed convolution of the input with kernel 4, stride 2 and padding 1, borders included. Parameters `weight`
/// (`in out 4 4`) and, with `bias`, `bias` (`out`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpConv {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Adds a bias.
    pub bias: bool,
    /// ONNX encoding.
    pub form: UpConvForm,
}

/// ONNX encodings of an [`UpConv`]; neither computes the upsampled feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpConvForm {
    /// One transposed convolution.
    Transposed,
    /// Four 2x2 convolutions of the input, one for each parity of output row and column, whose results are interleaved.
    Phases,
}

/// Position of a node in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// An operation with its name and inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name, unique in the graph, as in `segmentation_models.pytorch`. The name is also the prefix of the parameters (`name.weight`) and the
    /// ONNX name.
    pub name: String,
    /// Operation.
    pub op: Op,
    /// Input nodes; all precede this node in [`Graph::nodes`].
    pub inputs: Vec<NodeId>,
}

/// A feature map that a loss reads in addition to the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureTap {
    /// Name in configurations (`block3`).
    pub name: String,
    /// Node that computes the feature map.
    pub node: NodeId,
}

/// A network: nodes in topological order, one output, and the feature taps.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
    /// Node whose value is the output.
    pub output: NodeId,
    /// Feature maps that losses read; export removes them.
    pub feature_taps: Vec<FeatureTap>,
}

impl Graph {
    /// Returns the node with this id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Iterates over all nodes with their ids in topological order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, node)| (NodeId(i), node))
    }

    /// Returns the node of the feature tap with this name.
    pub fn feature_tap(&self, name: &str) -> Option<NodeId> {
        self.feature_taps.iter().find(|tap| tap.name == name).map(|tap| tap.node)
    }

    /// Returns the graph without the nodes that the output does not depend on, and without feature taps.
    #[must_use]
    pub fn only_output(&self) -> Graph {
        let mut needed = vec![false; self.nodes.len()];
        needed[self.output.0] = true;
        for (id, node) in self.iter().rev() {
            if needed[id.0] {
                node.inputs.iter().for_each(|input| needed[input.0] = true);
            }
        }
        let mut new_id = vec![NodeId(0); self.nodes.len()];
        let mut nodes = Vec::new();
        for (id, node) in self.iter().filter(|(id, _)| needed[id.0]) {
            new_id[id.0] = NodeId(nodes.len());
            nodes.push(Node { inputs: node.inputs.iter().map(|input| new_id[input.0]).collect(), ..node.clone() });
        }
        Graph { nodes, output: new_id[self.output.0], feature_taps: Vec::new() }
    }
}

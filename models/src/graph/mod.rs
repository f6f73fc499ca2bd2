//! The network as data. Execution, ONNX writing, receptive field, parameter names and printing are interpreters of a [`Graph`].

mod builder;
mod measure;
mod reach;

pub use builder::{Builder, Wire};
pub use measure::{Feature, Parameter, Role};

/// What a node computes. Feature maps are `B C H W`; every interpreter is one `match` without `_`.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Where an image enters, as floating-point features.
    Input {
        /// Channels of the input.
        channels: usize,
    },
    /// Where an image enters as it is stored: u8, `B H W C`, 0..=255; leaves as f32 `B C H W`, `(v / 255 - mean) / std`.
    InputImage {
        /// Mean of each channel, of values in 0..=1.
        mean: [f32; 3],
        /// Standard deviation of each channel.
        std: [f32; 3],
    },
    /// Convolution, zero padding of `kernel / 2`. Parameters `weight` (`out in k k`) and, with `bias`, `bias` (`out`).
    Conv(Conv),
    /// 3x3 convolution of each channel by itself, zero padding of 1. Parameters `weight` (`C 1 3 3`) and, with `bias`, `bias` (`C`).
    Depthwise(Depthwise),
    /// 3x3 convolution of the map enlarged by [`Op::Upsample`], in one: made by the exporter, not trained.
    UpConv(UpConv),
    /// Batch normalisation: `weight`, `bias`, `running_mean`, `running_var`, each `C`.
    BatchNorm {
        /// Channels in and out.
        channels: usize,
        /// Added to the variance.
        eps: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Sum of two maps of one shape.
    Add,
    /// Maximum over 3x3 windows, stride 2, padding 1 (never counted).
    MaxPool,
    /// Each pixel becomes 2x2.
    Upsample,
    /// Channels of the first input, then of the second.
    Concat,
    /// Probability of class 1 of 2: `sigmoid(z1 - z0)`, `B 1 H W`; of a single channel `sigmoid(z)`.
    Probability,
    /// `round(255 p)` as u8 (ties to even), same shape.
    Quantise,
}

/// A square convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Kernel side, odd; padding is `kernel / 2`.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// A 3x3 convolution of each channel by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depthwise {
    /// Channels in and out.
    pub channels: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

/// A 3x3 convolution, stride 1, zero padding 1, of a map whose pixels are first made 2x2.
///
/// It equals a transposed convolution of the small map with kernel 4, stride 2, padding 1, borders included. Parameters `weight`
/// (`in out 4 4`) and, with `bias`, `bias` (`out`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpConv {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Whether a bias is added.
    pub bias: bool,
    /// How it is written for a runtime.
    pub form: UpConvForm,
}

/// The two ways of computing an [`UpConv`] without the enlarged map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpConvForm {
    /// One transposed convolution.
    Transposed,
    /// Four 2x2 convolutions of the small map, one for each parity of row and column, woven together.
    Phases,
}

/// Position of a node in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// One operation. `name` is also the prefix of its parameters, its ONNX name and its name in error messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in the graph; parameters are `name.weight` etc., as in `segmentation_models.pytorch`.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// What it computes it from; all earlier in [`Graph::nodes`].
    pub inputs: Vec<NodeId>,
}

/// A feature map that a loss reads beside the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureTap {
    /// How losses and configurations call it (`block3`).
    pub name: String,
    /// Where it comes from.
    pub node: NodeId,
}

/// Nodes in an order in which each follows its inputs, one output, and the taps.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// In topological order.
    pub nodes: Vec<Node>,
    /// The node whose value is the result.
    pub output: NodeId,
    /// Named feature maps, for losses; export does not keep them.
    pub taps: Vec<FeatureTap>,
}

impl Graph {
    /// The node with this id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// All nodes with their ids, inputs before users.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, node)| (NodeId(i), node))
    }

    /// The node of the tap with this name.
    pub fn tap(&self, name: &str) -> Option<NodeId> {
        self.taps.iter().find(|tap| tap.name == name).map(|tap| tap.node)
    }

    /// The graph without what `output` does not need; taps go with it.
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
        Graph { nodes, output: new_id[self.output.0], taps: Vec::new() }
    }
}

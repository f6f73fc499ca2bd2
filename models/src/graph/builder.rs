//! Construction of a [`Graph`] by method chaining: `image.conv("stem", 64, 7, 2).norm("bn1").relu()`.

use std::cell::RefCell;

use super::{Conv, Depthwise, FeatureTap, Graph, Node, NodeId, Op};

/// A graph under construction. The values between its nodes are [`Wire`]s.
#[derive(Default)]
pub struct Builder {
    nodes: RefCell<Vec<Node>>,
}

/// Value of a node, used as the input of other nodes.
#[derive(Clone, Copy)]
pub struct Wire<'b> {
    builder: &'b Builder,
    id: NodeId,
    channels: usize,
}

impl Builder {
    /// Starts with an empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the network's input, an image or feature map with this number of channels.
    pub fn input(&self, channels: usize) -> Wire<'_> {
        self.push("input".into(), Op::Input { channels }, &[], channels)
    }

    /// Finishes the graph; `taps` are the feature maps that losses read, by name.
    pub fn finish(&self, output: Wire<'_>, taps: &[(&str, Wire<'_>)]) -> Graph {
        let feature_taps = taps.iter().map(|(name, wire)| FeatureTap { name: (*name).to_owned(), node: wire.id }).collect();
        Graph { nodes: self.nodes.take(), output: output.id, feature_taps }
    }

    fn push(&self, name: String, op: Op, inputs: &[NodeId], channels: usize) -> Wire<'_> {
        let mut nodes = self.nodes.borrow_mut();
        assert!(nodes.iter().all(|node| node.name != name), "two nodes are named {name}");
        let id = NodeId(nodes.len());
        nodes.push(Node { name, op, inputs: inputs.to_vec() });
        Wire { builder: self, id, channels }
    }
}

impl Wire<'_> {
    /// Returns the number of channels.
    pub fn channels(self) -> usize {
        self.channels
    }

    /// Appends a convolution without bias, zero padding `kernel / 2`. `kernel` is odd, `stride` 1 or 2.
    #[must_use]
    pub fn conv(self, name: impl Into<String>, outputs: usize, kernel: usize, stride: usize) -> Self {
        self.convolve(name.into(), outputs, kernel, stride, false)
    }

    /// Appends a convolution with bias, otherwise like [`Wire::conv`].
    #[must_use]
    pub fn conv_bias(self, name: impl Into<String>, outputs: usize, kernel: usize, stride: usize) -> Self {
        self.convolve(name.into(), outputs, kernel, stride, true)
    }

    fn convolve(self, name: String, outputs: usize, kernel: usize, stride: usize, bias: bool) -> Self {
        assert!(kernel % 2 == 1 && (stride == 1 || stride == 2), "{name}: kernel {kernel}, stride {stride}");
        let conv = Conv { inputs: self.channels, outputs, kernel, stride, bias };
        self.builder.push(name, Op::Conv(conv), &[self.id], outputs)
    }

    /// Appends a 3x3 depthwise convolution without bias, zero padding 1.
    #[must_use]
    pub fn depthwise(self, name: impl Into<String>, stride: usize) -> Self {
        let name = name.into();
        assert!(stride == 1 || stride == 2, "{name}: stride {stride}");
        let conv = Depthwise { channels: self.channels, stride, bias: false };
        self.builder.push(name, Op::Depthwise(conv), &[self.id], self.channels)
    }

    /// Appends batch normalisation with eps 1e-5.
    #[must_use]
    pub fn norm(self, name: impl Into<String>) -> Self {
        let op = Op::BatchNorm { channels: self.channels, eps: 1e-5 };
        self.builder.push(name.into(), op, &[self.id], self.channels)
    }

    /// Appends `max(x, 0)`.
    #[must_use]
    pub fn relu(self) -> Self {
        self.unary("relu", Op::Relu)
    }

    /// Appends `min(max(x, 0), 6)`.
    #[must_use]
    pub fn relu6(self) -> Self {
        self.unary("relu6", Op::Relu6)
    }

    /// Appends max pooling over 3x3 windows, stride 2.
    #[must_use]
    pub fn max_pool(self) -> Self {
        self.unary("max_pool", Op::MaxPool)
    }

    /// Appends nearest-neighbour upsampling by 2.
    #[must_use]
    pub fn upsample(self) -> Self {
        self.unary("upsample", Op::Upsample)
    }

    /// Adds a value of the same shape.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        assert_eq!(self.channels, other.channels, "sum of {} and {} channels", self.channels, other.channels);
        let name = self.fresh("add");
        self.builder.push(name, Op::Add, &[self.id, other.id], self.channels)
    }

    /// Concatenates the channels of this value and of `other`.
    #[must_use]
    pub fn concat(self, other: Self) -> Self {
        let name = self.fresh("concat");
        self.builder.push(name, Op::Concat, &[self.id, other.id], self.channels + other.channels)
    }

    fn unary(self, kind: &str, op: Op) -> Self {
        let name = self.fresh(kind);
        self.builder.push(name, op, &[self.id], self.channels)
    }

    /// Returns an unused name for a node without parameters: the name of its input with the operation as suffix (`encoder.bn1.relu`).
    fn fresh(self, kind: &str) -> String {
        let nodes = self.builder.nodes.borrow();
        let base = format!("{}.{kind}", nodes[self.id.0].name);
        let taken = |name: &String| nodes.iter().any(|node| node.name == *name);
        let numbered = (2..=nodes.len() + 2).map(|n| format!("{base}{n}"));
        std::iter::once(base.clone()).chain(numbered).find(|name| !taken(name)).expect("there are more names than nodes")
    }
}

//! Builds a [`Graph`] by chaining: `image.conv("stem", 64, 7, 2).norm("bn1").relu()`.

use std::cell::RefCell;

use super::{Conv, Depthwise, FeatureTap, Graph, Node, NodeId, Op};

/// Collects nodes; [`Wire`]s are the values between them.
#[derive(Default)]
pub struct Builder {
    nodes: RefCell<Vec<Node>>,
}

/// The value of a node, to be used as the input of others.
#[derive(Clone, Copy)]
pub struct Wire<'b> {
    builder: &'b Builder,
    id: NodeId,
    channels: usize,
}

impl Builder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the image enters.
    pub fn input(&self, channels: usize) -> Wire<'_> {
        self.push("input".into(), Op::Input { channels }, &[], channels)
    }

    /// The finished graph.
    pub fn finish(&self, output: Wire<'_>, taps: &[(&str, Wire<'_>)]) -> Graph {
        let taps = taps.iter().map(|(name, wire)| FeatureTap { name: (*name).to_owned(), node: wire.id }).collect();
        Graph { nodes: self.nodes.take(), output: output.id, taps }
    }

    fn push(&self, name: String, op: Op, inputs: &[NodeId], channels: usize) -> Wire<'_> {
        let mut nodes = self.nodes.borrow_mut();
        assert!(nodes.iter().all(|node| node.name != name), "two nodes are called {name}");
        let id = NodeId(nodes.len());
        nodes.push(Node { name, op, inputs: inputs.to_vec() });
        Wire { builder: self, id, channels }
    }
}

impl Wire<'_> {
    /// Channels of this value.
    pub fn channels(self) -> usize {
        self.channels
    }

    /// Convolution without bias, zero padding `kernel / 2`.
    #[must_use]
    pub fn conv(self, name: impl Into<String>, outputs: usize, kernel: usize, stride: usize) -> Self {
        self.convolve(name.into(), outputs, kernel, stride, false)
    }

    /// Convolution with bias.
    #[must_use]
    pub fn conv_bias(self, name: impl Into<String>, outputs: usize, kernel: usize, stride: usize) -> Self {
        self.convolve(name.into(), outputs, kernel, stride, true)
    }

    fn convolve(self, name: String, outputs: usize, kernel: usize, stride: usize, bias: bool) -> Self {
        assert!(kernel % 2 == 1 && (stride == 1 || stride == 2), "{name}: kernel {kernel}, stride {stride}");
        let conv = Conv { inputs: self.channels, outputs, kernel, stride, bias };
        self.builder.push(name, Op::Conv(conv), &[self.id], outputs)
    }

    /// 3x3 convolution of each channel by itself, without bias, zero padding 1.
    #[must_use]
    pub fn depthwise(self, name: impl Into<String>, stride: usize) -> Self {
        let name = name.into();
        assert!(stride == 1 || stride == 2, "{name}: stride {stride}");
        let conv = Depthwise { channels: self.channels, stride, bias: false };
        self.builder.push(name, Op::Depthwise(conv), &[self.id], self.channels)
    }

    /// Batch normalisation with eps 1e-5.
    #[must_use]
    pub fn norm(self, name: impl Into<String>) -> Self {
        let op = Op::BatchNorm { channels: self.channels, eps: 1e-5 };
        self.builder.push(name.into(), op, &[self.id], self.channels)
    }

    /// `max(x, 0)`.
    #[must_use]
    pub fn relu(self) -> Self {
        self.unary("relu", Op::Relu)
    }

    /// `min(max(x, 0), 6)`.
    #[must_use]
    pub fn relu6(self) -> Self {
        self.unary("relu6", Op::Relu6)
    }

    /// Maximum over 3x3, stride 2.
    #[must_use]
    pub fn max_pool(self) -> Self {
        self.unary("max_pool", Op::MaxPool)
    }

    /// Nearest neighbour, x2.
    #[must_use]
    pub fn upsample(self) -> Self {
        self.unary("upsample", Op::Upsample)
    }

    /// Sum with a value of the same shape.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        assert_eq!(self.channels, other.channels, "sum of {} and {} channels", self.channels, other.channels);
        let name = self.fresh("add");
        self.builder.push(name, Op::Add, &[self.id, other.id], self.channels)
    }

    /// Channels of this value, then of `other`.
    #[must_use]
    pub fn concat(self, other: Self) -> Self {
        let name = self.fresh("concat");
        self.builder.push(name, Op::Concat, &[self.id, other.id], self.channels + other.channels)
    }

    fn unary(self, kind: &str, op: Op) -> Self {
        let name = self.fresh(kind);
        self.builder.push(name, op, &[self.id], self.channels)
    }

    /// Nodes without parameters are named after what they follow: `encoder.bn1.relu`.
    fn fresh(self, kind: &str) -> String {
        let nodes = self.builder.nodes.borrow();
        let base = format!("{}.{kind}", nodes[self.id.0].name);
        let taken = |name: &String| nodes.iter().any(|node| node.name == *name);
        let numbered = (2..=nodes.len() + 2).map(|n| format!("{base}{n}"));
        std::iter::once(base.clone()).chain(numbered).find(|name| !taken(name)).expect("there are more names than nodes")
    }
}

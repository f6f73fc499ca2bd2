//! What can be known before any value is: which nodes are computed together, and when values may go.

use kernels::Activation;
use models::graph::{Conv, Graph, NodeId, Op};

/// What a node does once the nodes that it absorbs are part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FusedStep {
    /// Its own operation.
    Unfused,
    /// Nothing: the node that reads it computes it along the way.
    Absorbed,
    /// An activation with the normalisation before it and the map that was added between the two.
    NormActivation { norm: NodeId, residual: Option<NodeId>, activation: Activation },
    /// A convolution of an upsampled map and the channels that were put behind it.
    UpsampledConv { small: NodeId, skip: Option<NodeId> },
}

/// Steps of a graph's nodes, and the life of their values.
pub(super) struct Schedule {
    /// One for each node.
    pub steps: Vec<FusedStep>,
    /// The last node that reads each value; `usize::MAX` for outputs and taps, which stay.
    pub last_use: Vec<usize>,
    /// The first node whose gradient reads each value, the last that the reverse pass comes to; none where no gradient does.
    pub last_gradient_use: Vec<Option<usize>>,
}

impl Schedule {
    pub fn new(graph: &Graph) -> Self {
        let n = graph.nodes.len();
        let mut readers = vec![0; n];
        graph.nodes.iter().flat_map(|node| &node.inputs).for_each(|input| readers[input.0] += 1);
        let stays = |id: NodeId| id == graph.output || graph.taps.iter().any(|tap| tap.node == id);
        let has_one_reader = |id: NodeId| readers[id.0] == 1 && !stays(id);
        let mut schedule = Self { steps: vec![FusedStep::Unfused; n], last_use: vec![usize::MAX; n], last_gradient_use: vec![None; n] };
        for (id, node) in graph.iter() {
            let (step, absorbed) = match &node.op {
                Op::Relu => norm_activation(graph, Activation::Relu, node.inputs[0], &has_one_reader),
                Op::Relu6 => norm_activation(graph, Activation::Relu6, node.inputs[0], &has_one_reader),
                Op::Conv(conv) => upsampled_conv(graph, conv, node.inputs[0], &has_one_reader),
                _ => (FusedStep::Unfused, Vec::new()),
            };
            schedule.steps[id.0] = step;
            absorbed.into_iter().for_each(|absorbed: NodeId| schedule.steps[absorbed.0] = FusedStep::Absorbed);
        }
        for (id, node) in graph.iter().filter(|(id, _)| schedule.steps[id.0] != FusedStep::Absorbed) {
            for (input, used_by_gradient) in reads(graph, id, schedule.steps[id.0]) {
                schedule.last_use[input.0] = id.0;
                if used_by_gradient && schedule.last_gradient_use[input.0].is_none() {
                    schedule.last_gradient_use[input.0] = Some(id.0);
                }
            }
            if gradient_reads_output(&node.op) {
                schedule.last_gradient_use[id.0] = Some(id.0);
            }
        }
        graph.iter().filter(|(id, _)| stays(*id)).for_each(|(id, _)| schedule.last_use[id.0] = usize::MAX);
        schedule
    }
}

/// An activation of a normalisation, or of the sum of one with something else, when nobody else reads what lies between.
fn norm_activation(graph: &Graph, activation: Activation, input: NodeId, has_one_reader: &impl Fn(NodeId) -> bool) -> (FusedStep, Vec<NodeId>) {
    let is_norm = |id: NodeId| matches!(graph.node(id).op, Op::BatchNorm { .. }) && has_one_reader(id);
    if is_norm(input) {
        return (FusedStep::NormActivation { norm: input, residual: None, activation }, vec![input]);
    }
    if graph.node(input).op == Op::Add && has_one_reader(input) {
        let (a, b) = (graph.node(input).inputs[0], graph.node(input).inputs[1]);
        for (norm, residual) in [(a, b), (b, a)] {
            if is_norm(norm) {
                return (FusedStep::NormActivation { norm, residual: Some(residual), activation }, vec![input, norm]);
            }
        }
    }
    (FusedStep::Unfused, Vec::new())
}

/// A convolution of an upsampled map, with or without a second map behind it, when nobody else reads those.
fn upsampled_conv(graph: &Graph, conv: &Conv, input: NodeId, has_one_reader: &impl Fn(NodeId) -> bool) -> (FusedStep, Vec<NodeId>) {
    let small = |id: NodeId| (graph.node(id).op == Op::Upsample && has_one_reader(id)).then(|| graph.node(id).inputs[0]);
    if conv.kernel != 3 || conv.stride != 1 {
        return (FusedStep::Unfused, Vec::new());
    }
    if let Some(small) = small(input) {
        return (FusedStep::UpsampledConv { small, skip: None }, vec![input]);
    }
    if graph.node(input).op == Op::Concat && has_one_reader(input) {
        let (up, skip) = (graph.node(input).inputs[0], graph.node(input).inputs[1]);
        if let Some(small) = small(up) {
            return (FusedStep::UpsampledConv { small, skip: Some(skip) }, vec![input, up]);
        }
    }
    (FusedStep::Unfused, Vec::new())
}

/// The values that a step reads, and whether its gradient reads them too.
fn reads(graph: &Graph, id: NodeId, step: FusedStep) -> Vec<(NodeId, bool)> {
    match step {
        FusedStep::Absorbed => Vec::new(),
        FusedStep::NormActivation { norm, residual, .. } => {
            let x = graph.node(norm).inputs[0];
            [Some((x, true)), residual.map(|residual| (residual, false))].into_iter().flatten().collect()
        }
        FusedStep::UpsampledConv { small, skip } => [Some(small), skip].into_iter().flatten().map(|id| (id, true)).collect(),
        FusedStep::Unfused => graph.node(id).inputs.iter().map(|input| (*input, gradient_reads_input(&graph.node(id).op))).collect(),
    }
}

/// Whether an operation's gradient needs what went in.
fn gradient_reads_input(op: &Op) -> bool {
    match op {
        Op::Conv(_) | Op::Depthwise(_) | Op::UpConv(_) | Op::BatchNorm { .. } | Op::MaxPool => true,
        Op::Input { .. }
        | Op::InputImage { .. }
        | Op::Relu
        | Op::Relu6
        | Op::Add
        | Op::Upsample
        | Op::Concat
        | Op::Probability
        | Op::Quantise => false,
    }
}

/// Whether an operation's gradient needs what came out.
fn gradient_reads_output(op: &Op) -> bool {
    match op {
        Op::Relu | Op::Relu6 | Op::MaxPool => true,
        Op::Conv(_)
        | Op::Depthwise(_)
        | Op::UpConv(_)
        | Op::BatchNorm { .. }
        | Op::Input { .. }
        | Op::InputImage { .. }
        | Op::Add
        | Op::Upsample
        | Op::Concat
        | Op::Probability
        | Op::Quantise => false,
    }
}

//! Static schedule of a graph: operations that are fused into one kernel call, and the lifetime of each activation.

use kernels::Activation;
use models::graph::{Conv, Graph, NodeId, Op};

/// Operation of a node after fusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FusedStep {
    /// The node's own operation.
    Unfused,
    /// No operation, because the node's only reader computes it.
    Absorbed,
    /// Activation fused with the normalisation before it, and with the residual that is added between the two.
    NormActivation { norm: NodeId, residual: Option<NodeId>, activation: Activation },
    /// Convolution fused with the nearest-neighbour upsampling of its input and the concatenation of a skip connection.
    UpsampledConv { small: NodeId, skip: Option<NodeId> },
}

/// Fused operation of every node, and the lifetimes of the activations.
pub(super) struct Schedule {
    /// Fused operation of each node.
    pub steps: Vec<FusedStep>,
    /// Last node that reads each activation in the forward pass; `usize::MAX` for outputs and feature taps, which are never released.
    pub last_use: Vec<usize>,
    /// First node, hence the last one in the backward pass, whose gradient reads each activation; none if no gradient reads it.
    pub last_gradient_use: Vec<Option<usize>>,
}

impl Schedule {
    /// Fuses the operations of `graph` and determines the lifetimes of its activations.
    pub fn new(graph: &Graph) -> Self {
        let n = graph.nodes.len();
        let mut readers = vec![0; n];
        graph.nodes.iter().flat_map(|node| &node.inputs).for_each(|input| readers[input.0] += 1);
        let stays = |id: NodeId| id == graph.output || graph.feature_taps.iter().any(|tap| tap.node == id);
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

/// Fuses an activation with the normalisation before it, optionally through a residual addition, if no other node reads the intermediate
/// results.
fn norm_activation(
    graph: &Graph,
    activation: Activation,
    input: NodeId,
    has_one_reader: &impl Fn(NodeId) -> bool,
) -> (FusedStep, Vec<NodeId>) {
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

/// Fuses a 3x3 convolution of stride 1 with upsampling and concatenation of its input, if no other node reads the intermediate results.
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

/// Returns the activations that a fused operation reads, and whether its gradient reads them too.
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

/// Reports whether the gradient of an operation reads its input.
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

/// Reports whether the gradient of an operation reads its output.
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

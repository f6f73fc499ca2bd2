//! What can be known before any value is: which nodes are computed together, and when values may go.

use kernels::Activation;
use models::graph::{Conv, Graph, NodeId, Op};

/// What a node does once the nodes that it absorbs are part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its own operation.
    Own,
    /// Nothing: the node that reads it computes it along the way.
    Absorbed,
    /// An activation with the normalisation before it and the map that was added between the two.
    NormRelu { norm: NodeId, plus: Option<NodeId>, activation: Activation },
    /// A convolution of an upsampled map and the channels that were put behind it.
    Upsampled { small: NodeId, skip: Option<NodeId> },
}

/// Steps of a graph's nodes, and the life of their values.
pub(super) struct Schedule {
    /// One for each node.
    pub steps: Vec<Step>,
    /// The last node that reads each value; `usize::MAX` for outputs and taps, which stay.
    pub last_use: Vec<usize>,
    /// The first node whose gradient reads each value, the last that the reverse pass comes to; none where no gradient does.
    pub first_read_back: Vec<Option<usize>>,
}

impl Schedule {
    pub fn new(graph: &Graph) -> Self {
        let n = graph.nodes.len();
        let mut users = vec![0; n];
        graph.nodes.iter().flat_map(|node| &node.inputs).for_each(|input| users[input.0] += 1);
        let stays = |id: NodeId| id == graph.output || graph.feature_taps.iter().any(|tap| tap.node == id);
        let private = |id: NodeId| users[id.0] == 1 && !stays(id);
        let mut schedule = Self { steps: vec![Step::Own; n], last_use: vec![usize::MAX; n], first_read_back: vec![None; n] };
        for (id, node) in graph.iter() {
            let (step, absorbed) = match &node.op {
                Op::Relu => norm_relu(graph, Activation::Relu, node.inputs[0], &private),
                Op::Relu6 => norm_relu(graph, Activation::Relu6, node.inputs[0], &private),
                Op::Conv(conv) => upsampled(graph, conv, node.inputs[0], &private),
                _ => (Step::Own, Vec::new()),
            };
            schedule.steps[id.0] = step;
            absorbed.into_iter().for_each(|absorbed: NodeId| schedule.steps[absorbed.0] = Step::Absorbed);
        }
        for (id, node) in graph.iter().filter(|(id, _)| schedule.steps[id.0] != Step::Absorbed) {
            for (input, read_back) in reads(graph, id, schedule.steps[id.0]) {
                schedule.last_use[input.0] = id.0;
                if read_back && schedule.first_read_back[input.0].is_none() {
                    schedule.first_read_back[input.0] = Some(id.0);
                }
            }
            if reads_output(&node.op) {
                schedule.first_read_back[id.0] = Some(id.0);
            }
        }
        graph.iter().filter(|(id, _)| stays(*id)).for_each(|(id, _)| schedule.last_use[id.0] = usize::MAX);
        schedule
    }
}

/// An activation of a normalisation, or of the sum of one with something else, when nobody else reads what lies between.
fn norm_relu(graph: &Graph, activation: Activation, input: NodeId, private: &impl Fn(NodeId) -> bool) -> (Step, Vec<NodeId>) {
    let is_norm = |id: NodeId| matches!(graph.node(id).op, Op::BatchNorm { .. }) && private(id);
    if is_norm(input) {
        return (Step::NormRelu { norm: input, plus: None, activation }, vec![input]);
    }
    if graph.node(input).op == Op::Add && private(input) {
        let (a, b) = (graph.node(input).inputs[0], graph.node(input).inputs[1]);
        for (norm, plus) in [(a, b), (b, a)] {
            if is_norm(norm) {
                return (Step::NormRelu { norm, plus: Some(plus), activation }, vec![input, norm]);
            }
        }
    }
    (Step::Own, Vec::new())
}

/// A convolution of an upsampled map, with or without a second map behind it, when nobody else reads those.
fn upsampled(graph: &Graph, conv: &Conv, input: NodeId, private: &impl Fn(NodeId) -> bool) -> (Step, Vec<NodeId>) {
    let small = |id: NodeId| (graph.node(id).op == Op::Upsample && private(id)).then(|| graph.node(id).inputs[0]);
    if conv.kernel != 3 || conv.stride != 1 {
        return (Step::Own, Vec::new());
    }
    if let Some(small) = small(input) {
        return (Step::Upsampled { small, skip: None }, vec![input]);
    }
    if graph.node(input).op == Op::Concat && private(input) {
        let (up, skip) = (graph.node(input).inputs[0], graph.node(input).inputs[1]);
        if let Some(small) = small(up) {
            return (Step::Upsampled { small, skip: Some(skip) }, vec![input, up]);
        }
    }
    (Step::Own, Vec::new())
}

/// The values that a step reads, and whether its gradient reads them too.
fn reads(graph: &Graph, id: NodeId, step: Step) -> Vec<(NodeId, bool)> {
    match step {
        Step::Absorbed => Vec::new(),
        Step::NormRelu { norm, plus, .. } => {
            let x = graph.node(norm).inputs[0];
            [Some((x, true)), plus.map(|plus| (plus, false))].into_iter().flatten().collect()
        }
        Step::Upsampled { small, skip } => [Some(small), skip].into_iter().flatten().map(|id| (id, true)).collect(),
        Step::Own => graph.node(id).inputs.iter().map(|input| (*input, reads_input(&graph.node(id).op))).collect(),
    }
}

/// Whether an operation's gradient needs what went in.
fn reads_input(op: &Op) -> bool {
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
fn reads_output(op: &Op) -> bool {
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

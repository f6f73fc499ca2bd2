//! Passes over a [`Net`] that leave its output as it is and make it cheaper to run; then its nodes as stages that are run at once.

use kernels::Activation;

use super::net::{Conv, Net, Node, Op};

/// Where channels of a convolution come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source {
    /// The value.
    pub value: usize,
    /// Whether each of its pixels stands for 2x2.
    pub halved: bool,
}

/// What is run at once; its value is that of a node of the net.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The node whose value this makes.
    pub value: usize,
    /// The node that does most of the work.
    pub main: usize,
    /// What it reads, without `plus`.
    pub sources: Vec<Source>,
    /// A map that is added to the result.
    pub plus: Option<usize>,
    /// What comes last.
    pub activation: Activation,
}

/// Normalisations into the convolutions before them, sums of convolutions into one, concatenations into who reads them.
pub fn simplify(net: &mut Net) {
    for id in 0..net.nodes.len() {
        let readers = net.readers();
        let is_private = |id: usize| readers[id] == 1;
        fold_affine(net, id, &is_private);
        join_sum(net, id, &is_private);
        read_parts(net, id);
    }
}

/// `gain * (w * x + b) + offset` as one convolution; computed in f64, rounded once.
fn fold_affine(net: &mut Net, id: usize, is_private: &impl Fn(usize) -> bool) {
    let Op::Affine { gain, offset } = &net.nodes[id].op else { return };
    let before = &net.nodes[net.nodes[id].inputs[0]];
    let mut op = before.op.clone();
    let (weight, bias) = match &mut op {
        Op::Conv(conv) => (&mut conv.weight, &mut conv.bias),
        Op::Depthwise(conv) => (&mut conv.weight, &mut conv.bias),
        _ => return,
    };
    if !is_private(net.nodes[id].inputs[0]) {
        return;
    }
    let per_output = weight.len() / bias.len();
    for (output, filter) in weight.chunks_exact_mut(per_output).enumerate() {
        filter.iter_mut().for_each(|v| *v = (f64::from(*v) * f64::from(gain[output])) as f32);
        bias[output] = (f64::from(bias[output]) * f64::from(gain[output]) + f64::from(offset[output])) as f32;
    }
    let inputs = before.inputs.clone();
    (net.nodes[id].op, net.nodes[id].inputs) = (op, inputs);
}

/// The sum of two convolutions of one kernel is the convolution of both maps together.
fn join_sum(net: &mut Net, id: usize, is_private: &impl Fn(usize) -> bool) {
    let &[a, b] = net.nodes[id].inputs.as_slice() else { return };
    let (Op::Add, Op::Conv(first), Op::Conv(second)) = (&net.nodes[id].op, &net.nodes[a].op, &net.nodes[b].op) else { return };
    let is_one_kernel = (first.kernel, first.stride) == (second.kernel, second.stride) && first.kernel == 3 && first.stride == 1;
    if !is_one_kernel || a == b || !is_private(a) || !is_private(b) {
        return;
    }
    let rows = [first, second].map(|conv| conv.weight.chunks_exact(conv.weight.len() / conv.outputs));
    let [rows_a, rows_b] = rows;
    let weight = rows_a.zip(rows_b).flat_map(|(a, b)| a.iter().chain(b)).copied().collect();
    let bias = first.bias.iter().zip(&second.bias).map(|(a, b)| a + b).collect();
    let conv = Conv { weight, bias, ..*first };
    let inputs = net.nodes[a].inputs.iter().chain(&net.nodes[b].inputs).copied().collect();
    (net.nodes[id].op, net.nodes[id].inputs) = (Op::Conv(conv), inputs);
}

/// A 3x3 convolution of a concatenation reads its parts.
fn read_parts(net: &mut Net, id: usize) {
    if !matches!(net.nodes[id].op, Op::Conv(Conv { kernel: 3, stride: 1, .. })) {
        return;
    }
    let parts = |&input: &usize| match &net.nodes[input] {
        Node { op: Op::Concat, inputs, .. } => inputs.clone(),
        _ => vec![input],
    };
    net.nodes[id].inputs = net.nodes[id].inputs.iter().flat_map(parts).collect();
}

/// The stages that the logit needs, in order.
pub fn stages(net: &Net) -> Vec<Stage> {
    let readers = needed_readers(net);
    let mut stages: Vec<Stage> = Vec::new();
    let mut first_needed = vec![false; net.nodes.len()];
    first_needed[net.logit] = true;
    for id in (0..net.nodes.len()).rev().filter(|&id| readers[id] > 0) {
        if first_needed[id] {
            let stage = stage(net, id, &readers);
            stage.sources.iter().map(|source| source.value).chain(stage.plus).for_each(|value| first_needed[value] = true);
            stages.push(stage);
        }
    }
    stages.reverse();
    stages
}

/// How many nodes that the logit needs read each value.
fn needed_readers(net: &Net) -> Vec<usize> {
    let mut readers = vec![0; net.nodes.len()];
    readers[net.logit] = 1;
    for id in (0..net.nodes.len()).rev() {
        if readers[id] > 0 {
            net.nodes[id].inputs.iter().for_each(|&input| readers[input] += 1);
        }
    }
    readers
}

fn stage(net: &Net, id: usize, readers: &[usize]) -> Stage {
    let node = &net.nodes[id];
    let own = |main: usize, plus: Option<usize>, activation| Stage { value: id, main, sources: sources(net, main), plus, activation };
    match &node.op {
        Op::Relu | Op::Relu6 => {
            let activation = if node.op == Op::Relu { Activation::Relu } else { Activation::Relu6 };
            let x = node.inputs[0];
            match (&net.nodes[x].op, readers[x] == 1) {
                (Op::Conv(_) | Op::Depthwise(_) | Op::Affine { .. }, true) => own(x, None, activation),
                (Op::Add, true) => {
                    addend(net, x, readers).map_or_else(|| own(id, None, activation), |(conv, plus)| own(conv, Some(plus), activation))
                }
                _ => own(id, None, activation),
            }
        }
        Op::Add => {
            addend(net, id, readers).map_or_else(|| own(id, None, Activation::None), |(conv, plus)| own(conv, Some(plus), Activation::None))
        }
        Op::Image { .. }
        | Op::Conv(_)
        | Op::Depthwise(_)
        | Op::Affine { .. }
        | Op::MaxPool
        | Op::Upsample
        | Op::Concat
        | Op::Difference => own(id, None, Activation::None),
    }
}

/// The convolution that can add the other map as it goes: of two the later one, so that the other's value is there.
fn addend(net: &Net, sum: usize, readers: &[usize]) -> Option<(usize, usize)> {
    let &[a, b] = net.nodes[sum].inputs.as_slice() else { return None };
    let can = |id: usize| matches!(net.nodes[id].op, Op::Conv(_)) && readers[id] == 1;
    let is_large = |id: usize| matches!(&net.nodes[id].op, Op::Conv(conv) if conv.kernel > 1);
    match (can(a), can(b)) {
        _ if a == b => None,
        (true, true) if is_large(b) && !is_large(a) => Some((b, a)),
        (true, _) => Some((a, b)),
        (false, true) => Some((b, a)),
        (false, false) => None,
    }
}

/// What a node reads; 3x3 convolutions read small maps where they are given enlarged ones.
fn sources(net: &Net, id: usize) -> Vec<Source> {
    let looks_through = matches!(net.nodes[id].op, Op::Conv(Conv { kernel: 3, stride: 1, .. }));
    let source = |&input: &usize| match &net.nodes[input] {
        Node { op: Op::Upsample, inputs, .. } if looks_through => Source { value: inputs[0], halved: true },
        _ => Source { value: input, halved: false },
    };
    net.nodes[id].inputs.iter().map(source).collect()
}

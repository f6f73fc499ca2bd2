//! Graph passes that make a [`Net`] cheaper to run without changing its output, and fusion of its nodes to groups.

use kernels::Activation;

use super::net::{Conv, Net, Node, Op};

/// Operand of a fusion group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source {
    /// Node that computes the operand.
    pub value: usize,
    /// True if the operand has half the resolution and is upsampled while it is read (nearest neighbour).
    pub halved: bool,
}

/// Nodes that one kernel call computes: an anchor with its operands, a residual and an activation.
#[derive(Clone, Debug, PartialEq)]
pub struct FusionGroup {
    /// Last node of the group, whose value the group computes.
    pub value: usize,
    /// Node that decides the kernel.
    pub anchor: usize,
    /// Operands of the anchor.
    pub sources: Vec<Source>,
    /// Node whose value is added to the result of the anchor.
    pub residual: Option<usize>,
    /// Activation after the addition.
    pub activation: Activation,
}

impl FusionGroup {
    /// Returns true if the group reads a value, as an operand or as its residual.
    pub fn reads(&self, value: usize) -> bool {
        self.residual == Some(value) || self.sources.iter().any(|source| source.value == value)
    }
}

/// Folds affine maps into the convolutions before them, merges sums of convolutions, and removes concatenations before 3x3 convolutions.
pub fn simplify(net: &mut Net) {
    for id in 0..net.nodes.len() {
        let reader_counts = net.reader_counts();
        let has_one_reader = |id: usize| reader_counts[id] == 1;
        fold_affine(net, id, &has_one_reader);
        merge_summed_convs(net, id, &has_one_reader);
        bypass_concat(net, id);
    }
}

/// Folds `gain * (w * x + b) + offset` into one convolution; computed in f64 and rounded once.
fn fold_affine(net: &mut Net, id: usize, has_one_reader: &impl Fn(usize) -> bool) {
    let Op::Affine { gain, offset } = &net.nodes[id].op else { return };
    let before = &net.nodes[net.nodes[id].inputs[0]];
    let mut op = before.op.clone();
    let (weight, bias) = match &mut op {
        Op::Conv(conv) => (&mut conv.weight, &mut conv.bias),
        Op::Depthwise(conv) => (&mut conv.weight, &mut conv.bias),
        _ => return,
    };
    if !has_one_reader(net.nodes[id].inputs[0]) {
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

/// Merges the sum of two 3x3 convolutions with stride 1 into one convolution of the concatenated inputs.
fn merge_summed_convs(net: &mut Net, id: usize, has_one_reader: &impl Fn(usize) -> bool) {
    let &[a, b] = net.nodes[id].inputs.as_slice() else { return };
    let (Op::Add, Op::Conv(first), Op::Conv(second)) = (&net.nodes[id].op, &net.nodes[a].op, &net.nodes[b].op) else { return };
    let can_merge = (first.kernel, first.stride) == (second.kernel, second.stride) && first.kernel == 3 && first.stride == 1;
    if !can_merge || a == b || !has_one_reader(a) || !has_one_reader(b) {
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

/// Replaces a concatenation before a 3x3 convolution with stride 1 by its parts, because the kernel reads several operands.
fn bypass_concat(net: &mut Net, id: usize) {
    if !matches!(net.nodes[id].op, Op::Conv(Conv { kernel: 3, stride: 1, .. })) {
        return;
    }
    let parts = |&input: &usize| match &net.nodes[input] {
        Node { op: Op::Concat, inputs, .. } => inputs.clone(),
        _ => vec![input],
    };
    net.nodes[id].inputs = net.nodes[id].inputs.iter().flat_map(parts).collect();
}

/// Returns the groups that the logit depends on, in execution order.
pub fn fusion_groups(net: &Net) -> Vec<FusionGroup> {
    let reader_counts = live_reader_counts(net);
    let mut groups: Vec<FusionGroup> = Vec::new();
    let mut is_live = vec![false; net.nodes.len()];
    is_live[net.logit] = true;
    for id in (0..net.nodes.len()).rev().filter(|&id| reader_counts[id] > 0) {
        if is_live[id] {
            let group = group(net, id, &reader_counts);
            group.sources.iter().map(|source| source.value).chain(group.residual).for_each(|value| is_live[value] = true);
            groups.push(group);
        }
    }
    groups.reverse();
    groups
}

/// Returns the number of readers of each node, among nodes that the logit depends on; the logit itself has one more.
fn live_reader_counts(net: &Net) -> Vec<usize> {
    let mut reader_counts = vec![0; net.nodes.len()];
    reader_counts[net.logit] = 1;
    for id in (0..net.nodes.len()).rev() {
        if reader_counts[id] > 0 {
            net.nodes[id].inputs.iter().for_each(|&input| reader_counts[input] += 1);
        }
    }
    reader_counts
}

/// Returns the group that ends with node `id`.
fn group(net: &Net, id: usize, reader_counts: &[usize]) -> FusionGroup {
    let node = &net.nodes[id];
    let group_of = |anchor: usize, residual: Option<usize>, activation| FusionGroup {
        value: id,
        anchor,
        sources: sources(net, anchor),
        residual,
        activation,
    };
    match &node.op {
        Op::Relu | Op::Relu6 => {
            let activation = if node.op == Op::Relu { Activation::Relu } else { Activation::Relu6 };
            let x = node.inputs[0];
            match (&net.nodes[x].op, reader_counts[x] == 1) {
                (Op::Conv(_) | Op::Depthwise(_) | Op::Affine { .. }, true) => group_of(x, None, activation),
                (Op::Add, true) => residual_conv(net, x, reader_counts)
                    .map_or_else(|| group_of(id, None, activation), |(conv, residual)| group_of(conv, Some(residual), activation)),
                _ => group_of(id, None, activation),
            }
        }
        Op::Add => residual_conv(net, id, reader_counts)
            .map_or_else(|| group_of(id, None, Activation::None), |(conv, residual)| group_of(conv, Some(residual), Activation::None)),
        Op::Image { .. }
        | Op::Conv(_)
        | Op::Depthwise(_)
        | Op::Affine { .. }
        | Op::MaxPool
        | Op::Upsample
        | Op::Concat
        | Op::Difference => group_of(id, None, Activation::None),
    }
}

/// Returns the convolution whose epilogue can perform a sum, and the other operand.
///
/// If both operands are such convolutions, the larger kernel wins, as in a residual block whose shortcut is a 1x1 convolution.
fn residual_conv(net: &Net, sum: usize, reader_counts: &[usize]) -> Option<(usize, usize)> {
    let &[a, b] = net.nodes[sum].inputs.as_slice() else { return None };
    let can = |id: usize| matches!(net.nodes[id].op, Op::Conv(_)) && reader_counts[id] == 1;
    let is_large = |id: usize| matches!(&net.nodes[id].op, Op::Conv(conv) if conv.kernel > 1);
    match (can(a), can(b)) {
        _ if a == b => None,
        (true, true) if is_large(b) && !is_large(a) => Some((b, a)),
        (true, _) => Some((a, b)),
        (false, true) => Some((b, a)),
        (false, false) => None,
    }
}

/// Returns the operands of a node; 3x3 convolutions with stride 1 read the input of an upsampling and upsample it themselves.
fn sources(net: &Net, id: usize) -> Vec<Source> {
    let upsamples = matches!(net.nodes[id].op, Op::Conv(Conv { kernel: 3, stride: 1, .. }));
    let source = |&input: &usize| match &net.nodes[input] {
        Node { op: Op::Upsample, inputs, .. } if upsamples => Source { value: inputs[0], halved: true },
        _ => Source { value: input, halved: false },
    };
    net.nodes[id].inputs.iter().map(source).collect()
}

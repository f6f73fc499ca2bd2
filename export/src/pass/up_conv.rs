//! A convolution of an enlarged map never needs the enlarged map.
//!
//! Pixels of the map that [`Op::Upsample`] makes repeat, so several taps of a 3x3 kernel meet the same pixel of the small map and can be
//! summed beforehand: in one dimension the taps (k0, k1, k2) become (k0, k1 + k2) for even outputs and (k0 + k1, k2) for odd ones, which is
//! a transposed convolution with the kernel (k2, k1 + k2, k0 + k1, k0), stride 2, padding 1. Zero padding and borders agree.
//! Where the enlarged map is concatenated with another, the convolution is split in two and summed.

use models::graph::{Conv, Graph, Node, NodeId, Op, UpConv, UpConvForm};
use models::weights::{Array, Weights};

use super::{Model, uses};

/// Which taps of a 3x3 kernel, along one axis, make each tap of the 4x4 kernel.
const TAPS: [&[usize]; 4] = [&[2], &[1, 2], &[0, 1], &[0]];

/// Replaces 3x3 convolutions of enlarged maps that nothing else reads. `form` chooses by the channels of the small map; `None` leaves it.
pub fn up_conv((mut graph, mut weights): Model, form: impl Fn(usize) -> Option<UpConvForm>) -> Model {
    while let Some(site) = next(&graph, &form) {
        graph = replace(&graph, &site, &mut weights);
    }
    super::only_output((graph, weights))
}

/// A convolution that can be replaced.
struct Site {
    conv: NodeId,
    small: NodeId,
    small_channels: usize,
    /// What is concatenated after the enlarged map.
    skip: Option<NodeId>,
    form: UpConvForm,
}

fn next(graph: &Graph, form: &impl Fn(usize) -> Option<UpConvForm>) -> Option<Site> {
    let uses = uses(graph);
    let enlarged = |id: NodeId| (matches!(graph.node(id).op, Op::Upsample) && uses[id.0] == 1).then(|| graph.node(id).inputs[0]);
    let shapes = graph.shapes(graph.stride(), graph.stride()).expect("a graph has shapes at its own stride");
    graph.iter().find_map(|(conv, node)| {
        let Op::Conv(Conv { kernel: 3, stride: 1, .. }) = node.op else { return None };
        let input = node.inputs[0];
        let (small, skip) = match &graph.node(input).op {
            Op::Upsample => (enlarged(input)?, None),
            Op::Concat if uses[input.0] == 1 => (enlarged(graph.node(input).inputs[0])?, Some(graph.node(input).inputs[1])),
            _ => return None,
        };
        let small_channels = shapes[small.0].channels;
        Some(Site { conv, small, small_channels, skip, form: form(small_channels)? })
    })
}

/// The graph with the nodes `name.up`, `name.skip` and their sum in the place of the convolution.
fn replace(graph: &Graph, site: &Site, weights: &mut Weights) -> Graph {
    let node = graph.node(site.conv);
    let Op::Conv(conv) = node.op else { unreachable!("{} is a convolution", node.name) };
    let up = UpConv { inputs: site.small_channels, outputs: conv.outputs, bias: conv.bias, form: site.form };
    let kernel = weights.remove(&format!("{}.weight", node.name)).expect("a selected weight");
    let bias = weights.remove(&format!("{}.bias", node.name));
    let up_name = format!("{}.up", node.name);
    weights.insert(format!("{up_name}.weight"), enlarging(&kernel, &conv, site.small_channels));
    bias.into_iter().for_each(|bias| drop(weights.insert(format!("{up_name}.bias"), bias)));
    let mut made = vec![Node { name: up_name, op: Op::UpConv(up), inputs: vec![site.small] }];
    if let Some(skip) = site.skip {
        let name = format!("{}.skip", node.name);
        weights.insert(format!("{name}.weight"), remaining(&kernel, &conv, site.small_channels));
        let rest = Conv { inputs: conv.inputs - site.small_channels, bias: false, ..conv };
        made.push(Node { name, op: Op::Conv(rest), inputs: vec![skip] });
        made.push(Node { name: node.name.clone(), op: Op::Add, inputs: vec![NodeId(site.conv.0), NodeId(site.conv.0 + 1)] });
    }
    insert(graph, site.conv, made)
}

/// The graph with the nodes `made`, the last of which stands for `old`, in the place of `old`.
fn insert(graph: &Graph, old: NodeId, made: Vec<Node>) -> Graph {
    let more = made.len() - 1;
    let moved = |id: NodeId| NodeId(if id >= old { id.0 + more } else { id.0 });
    let mut nodes = graph.nodes[..old.0].to_vec();
    nodes.extend(made);
    let after = graph.nodes[old.0 + 1..].iter();
    nodes.extend(after.map(|node| Node { inputs: node.inputs.iter().map(|&input| moved(input)).collect(), ..node.clone() }));
    let mut taps = graph.taps.clone();
    taps.iter_mut().for_each(|tap| tap.node = moved(tap.node));
    Graph { nodes, output: moved(graph.output), taps }
}

/// `out in 3 3` to `small out 4 4` of the first `small` input channels; sums in f64, rounded once.
fn enlarging(kernel: &Array, conv: &Conv, small: usize) -> Array {
    let mut data = Vec::with_capacity(small * conv.outputs * 16);
    for (c, o) in (0..small).flat_map(|c| (0..conv.outputs).map(move |o| (c, o))) {
        let taps = &kernel.data[(o * conv.inputs + c) * 9..][..9];
        for (rows, columns) in TAPS.iter().flat_map(|rows| TAPS.iter().map(move |columns| (rows, columns))) {
            let sum: f64 = rows.iter().flat_map(|i| columns.iter().map(move |j| f64::from(taps[3 * i + j]))).sum();
            data.push(sum as f32);
        }
    }
    Array::new([small, conv.outputs, 4, 4], data)
}

/// The kernel of the input channels from `small` on.
fn remaining(kernel: &Array, conv: &Conv, small: usize) -> Array {
    let data = kernel.data.chunks(conv.inputs * 9).flat_map(|output| &output[small * 9..]).copied().collect();
    Array::new([conv.outputs, conv.inputs - small, 3, 3], data)
}

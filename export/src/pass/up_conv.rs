//! Fusion of nearest-neighbour upsampling with the 3x3 convolution after it, so that the upsampled feature map is never computed.
//!
//! [`Op::Upsample`] repeats each pixel, so several taps of a 3x3 kernel read the same input pixel and can be summed beforehand. In one
//! dimension the taps (k0, k1, k2) become (k0, k1 + k2) for even outputs and (k0 + k1, k2) for odd outputs, which is a transposed convolution
//! with the kernel (k2, k1 + k2, k0 + k1, k0), stride 2, padding 1. Zero padding and borders agree.
//! If the upsampled map is concatenated with a skip connection, the convolution is split by input channels into two whose results are added.

use models::graph::{Conv, Graph, Node, NodeId, Op, UpConv, UpConvForm};
use models::weights::{Array, Weights};

use super::{Model, uses};

/// Taps of the 3x3 kernel whose sum is each tap of the 4x4 kernel, along one axis.
const TAPS: [&[usize]; 4] = [&[2], &[1, 2], &[0, 1], &[0]];

/// Replaces 3x3 convolutions of upsampled feature maps that have no other reader. `form` chooses the replacement by the number of channels
/// before upsampling; a convolution for which `form` returns `None` stays.
pub fn up_conv((mut graph, mut weights): Model, form: impl Fn(usize) -> Option<UpConvForm>) -> Model {
    while let Some(candidate) = next(&graph, &form) {
        graph = replace(&graph, &candidate, &mut weights);
    }
    super::only_output((graph, weights))
}

/// Convolution that can be replaced.
struct Candidate {
    conv: NodeId,
    /// Input of the upsampling.
    small: NodeId,
    /// Channels of `small`.
    small_channels: usize,
    /// Skip connection, concatenated after the upsampled map.
    skip: Option<NodeId>,
    form: UpConvForm,
}

/// Finds the first convolution that can be replaced.
fn next(graph: &Graph, form: &impl Fn(usize) -> Option<UpConvForm>) -> Option<Candidate> {
    let uses = uses(graph);
    let before_upsampling = |id: NodeId| (matches!(graph.node(id).op, Op::Upsample) && uses[id.0] == 1).then(|| graph.node(id).inputs[0]);
    let shapes = graph.shapes(graph.stride(), graph.stride()).expect("a graph has shapes at its own stride");
    graph.iter().find_map(|(conv, node)| {
        let Op::Conv(Conv { kernel: 3, stride: 1, .. }) = node.op else { return None };
        let input = node.inputs[0];
        let (small, skip) = match &graph.node(input).op {
            Op::Upsample => (before_upsampling(input)?, None),
            Op::Concat if uses[input.0] == 1 => (before_upsampling(graph.node(input).inputs[0])?, Some(graph.node(input).inputs[1])),
            _ => return None,
        };
        let small_channels = shapes[small.0].channels;
        Some(Candidate { conv, small, small_channels, skip, form: form(small_channels)? })
    })
}

/// Replaces the convolution by the nodes `name.up`, `name.skip` and their sum, and rewrites the weights.
fn replace(graph: &Graph, candidate: &Candidate, weights: &mut Weights) -> Graph {
    let node = graph.node(candidate.conv);
    let Op::Conv(conv) = node.op else { unreachable!("{} is not a convolution", node.name) };
    let up = UpConv { inputs: candidate.small_channels, outputs: conv.outputs, bias: conv.bias, form: candidate.form };
    let kernel = weights.remove(&format!("{}.weight", node.name)).expect("a selected weight");
    let bias = weights.remove(&format!("{}.bias", node.name));
    let up_name = format!("{}.up", node.name);
    weights.insert(format!("{up_name}.weight"), upsampling_kernel(&kernel, &conv, candidate.small_channels));
    bias.into_iter().for_each(|bias| drop(weights.insert(format!("{up_name}.bias"), bias)));
    let mut replacement = vec![Node { name: up_name, op: Op::UpConv(up), inputs: vec![candidate.small] }];
    if let Some(skip) = candidate.skip {
        let name = format!("{}.skip", node.name);
        weights.insert(format!("{name}.weight"), skip_kernel(&kernel, &conv, candidate.small_channels));
        let rest = Conv { inputs: conv.inputs - candidate.small_channels, bias: false, ..conv };
        replacement.push(Node { name, op: Op::Conv(rest), inputs: vec![skip] });
        replacement.push(Node {
            name: node.name.clone(),
            op: Op::Add,
            inputs: vec![NodeId(candidate.conv.0), NodeId(candidate.conv.0 + 1)],
        });
    }
    substitute(graph, candidate.conv, replacement)
}

/// Returns the graph with the node `old` replaced by several nodes, the last of which has the value of `old`.
fn substitute(graph: &Graph, old: NodeId, replacement: Vec<Node>) -> Graph {
    let more = replacement.len() - 1;
    let moved = |id: NodeId| NodeId(if id >= old { id.0 + more } else { id.0 });
    let mut nodes = graph.nodes[..old.0].to_vec();
    nodes.extend(replacement);
    let after = graph.nodes[old.0 + 1..].iter();
    nodes.extend(after.map(|node| Node { inputs: node.inputs.iter().map(|&input| moved(input)).collect(), ..node.clone() }));
    let mut feature_taps = graph.feature_taps.clone();
    feature_taps.iter_mut().for_each(|tap| tap.node = moved(tap.node));
    Graph { nodes, output: moved(graph.output), feature_taps }
}

/// Kernel of the transposed convolution, `small out 4 4`, from the first `small` input channels of a kernel `out in 3 3`. Sums are computed in
/// f64 and rounded once.
fn upsampling_kernel(kernel: &Array, conv: &Conv, small: usize) -> Array {
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

/// Kernel `out (in - small) 3 3` of the input channels from `small` on.
fn skip_kernel(kernel: &Array, conv: &Conv, small: usize) -> Array {
    let data = kernel.data.chunks(conv.inputs * 9).flat_map(|output| &output[small * 9..]).copied().collect();
    Array::new([conv.outputs, conv.inputs - small, 3, 3], data)
}

//! Folding of batch normalisation into the convolution before it (Ioffe, Szegedy, "Batch Normalization", ICML 2015, algorithm 2).
//!
//! gamma (w * x + b - mu) / sqrt(var + eps) + beta = (s w) * x + (s (b - mu) + beta) with s = gamma / sqrt(var + eps).

use models::graph::{Graph, NodeId, Op};
use models::weights::{Array, Weights};

use super::{Model, bypass, uses};

/// Folds every batch normalisation whose input is a convolution with no other reader. Computes in f64 and rounds once.
pub fn fold_batch_norm((mut graph, mut weights): Model) -> Model {
    while let Some((conv, norm)) = next(&graph) {
        fold(&graph, conv, norm, &mut weights);
        match &mut graph.nodes[conv.0].op {
            Op::Conv(conv) => conv.bias = true,
            Op::Depthwise(conv) => conv.bias = true,
            _ => unreachable!("only convolutions are folded"),
        }
        bypass(&mut graph, norm, conv);
    }
    (graph, weights)
}

/// Finds the first convolution and normalisation that can be folded.
fn next(graph: &Graph) -> Option<(NodeId, NodeId)> {
    let uses = uses(graph);
    graph.iter().find_map(|(id, node)| {
        let foldable = |conv: NodeId| matches!(graph.node(conv).op, Op::Conv(_) | Op::Depthwise(_)) && uses[conv.0] == 1;
        (matches!(node.op, Op::BatchNorm { .. }) && foldable(node.inputs[0])).then(|| (node.inputs[0], id))
    })
}

/// Rewrites the convolution's weights and bias and removes the normalisation's arrays.
fn fold(graph: &Graph, conv: NodeId, norm: NodeId, weights: &mut Weights) {
    let (conv, norm) = (graph.node(conv), graph.node(norm));
    let Op::BatchNorm { eps, .. } = norm.op else { unreachable!("{} is not a batch normalisation", norm.name) };
    let mut take = |suffix: &str| weights.remove(&format!("{}.{suffix}", norm.name)).expect("a selected weight").data;
    let [scale, shift, mean, var] = ["weight", "bias", "running_mean", "running_var"].map(&mut take);
    let factor: Vec<f64> = scale.iter().zip(&var).map(|(&s, &v)| f64::from(s) / (f64::from(v) + eps).sqrt()).collect();
    let bias_name = format!("{}.bias", conv.name);
    let bias = weights.remove(&bias_name).map_or_else(|| vec![0.0; factor.len()], |array| array.data);
    let folded = |i: usize| (factor[i] * (f64::from(bias[i]) - f64::from(mean[i])) + f64::from(shift[i])) as f32;
    let bias = (0..factor.len()).map(folded).collect();
    weights.insert(bias_name, Array::new([factor.len()], bias));
    let kernel = weights.get_mut(&format!("{}.weight", conv.name)).expect("a selected weight");
    let per_output = kernel.data.len() / factor.len();
    for (row, factor) in kernel.data.chunks_mut(per_output).zip(&factor) {
        for v in row {
            *v = (f64::from(*v) * factor) as f32;
        }
    }
}

//! Reduction of two logits to one: the probability sigmoid(z1 - z0) depends on their difference only, which a convolution with one output
//! channel computes with half the work.

use models::graph::{Graph, Op};
use models::weights::{Array, Weights};

use super::{Model, uses};

/// Replaces an output convolution with two channels by one with the single channel z1 - z0. Other graphs stay as they are.
pub fn head_difference((mut graph, mut weights): Model) -> Model {
    if !ends_in_two_logits(&graph) {
        return (graph, weights);
    }
    let uses = uses(&graph);
    let head = &mut graph.nodes[graph.output.0];
    if let Op::Conv(conv) = &mut head.op
        && uses[graph.output.0] == 1
    {
        conv.outputs = 1;
        for suffix in ["weight", "bias"] {
            subtract(&mut weights, &format!("{}.{suffix}", head.name));
        }
    }
    (graph, weights)
}

fn ends_in_two_logits(graph: &Graph) -> bool {
    matches!(&graph.node(graph.output).op, Op::Conv(conv) if conv.outputs == 2)
}

/// Replaces an array with two output channels by the difference of the two, computed in f64 and rounded once.
fn subtract(weights: &mut Weights, name: &str) {
    if let Some(Array { shape, data }) = weights.get_mut(name) {
        let (background, nucleus) = data.split_at(data.len() / 2);
        *data = nucleus.iter().zip(background).map(|(z1, z0)| (f64::from(*z1) - f64::from(*z0)) as f32).collect();
        shape[0] = 1;
    }
}

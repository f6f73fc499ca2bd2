//! Outputs of the shipped network: the probability of a nucleus, as f32 and quantised to one byte.

use models::graph::{Node, NodeId, Op};
use onnx::names::{PROBABILITY, QUANTISED};

use super::Model;

/// Appends [`Op::Probability`] and [`Op::Quantise`] to an output of logits, with the names that `infer` expects.
pub fn probability((mut graph, weights): Model) -> Model {
    for (name, op) in [(PROBABILITY, Op::Probability), (QUANTISED, Op::Quantise)] {
        graph.nodes.push(Node { name: name.to_owned(), op, inputs: vec![graph.output] });
        graph.output = NodeId(graph.nodes.len() - 1);
    }
    (graph, weights)
}

//! What leaves the network: the probability of a nucleus, and the same as one byte.

use models::graph::{Node, NodeId, Op};

use super::Model;

/// Name of the node that gives probabilities, and of the ONNX output.
pub const PROBABILITY: &str = "probability";
/// Name of the node that gives bytes, and of the ONNX output.
pub const QUANTISED: &str = "probability_u8";

/// Appends [`Op::Probability`] and [`Op::Quantise`] to an output of logits.
pub fn probability((mut graph, weights): Model) -> Model {
    for (name, op) in [(PROBABILITY, Op::Probability), (QUANTISED, Op::Quantise)] {
        graph.nodes.push(Node { name: name.to_owned(), op, inputs: vec![graph.output] });
        graph.output = NodeId(graph.nodes.len() - 1);
    }
    (graph, weights)
}

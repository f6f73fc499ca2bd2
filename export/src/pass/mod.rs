//! Graph passes: rewrites of a graph and its weights that keep the result but make it cheaper or change inputs and outputs. One file each.

mod fold_batch_norm;
mod head_difference;
mod image_input;
mod only_output;
mod probability;
mod up_conv;

pub use fold_batch_norm::fold_batch_norm;
pub use head_difference::head_difference;
pub use image_input::image_input;
pub use only_output::only_output;
pub use probability::probability;
pub use up_conv::up_conv;

use models::card::Normalisation;
use models::graph::{Graph, NodeId};
use models::weights::Weights;

/// A graph and the weights that its parameters name.
pub type Model = (Graph, Weights);

/// Runs the passes that every shipped network needs. Input: u8 image; outputs: probability and quantised probability.
pub fn all(model: Model, normalisation: &Normalisation) -> Model {
    let model = fold_batch_norm(only_output(model));
    image_input(probability(head_difference(model)), normalisation)
}

/// Number of readers of each node: inputs of other nodes, the graph's output and feature taps.
fn uses(graph: &Graph) -> Vec<usize> {
    let mut uses = vec![0; graph.nodes.len()];
    graph.nodes.iter().flat_map(|node| &node.inputs).for_each(|input| uses[input.0] += 1);
    uses[graph.output.0] += 1;
    graph.feature_taps.iter().for_each(|tap| uses[tap.node.0] += 1);
    uses
}

/// Removes `node`; its readers read `instead`.
fn bypass(graph: &mut Graph, node: NodeId, instead: NodeId) {
    let moved = |id: NodeId| {
        let id = if id == node { instead } else { id };
        NodeId(id.0 - usize::from(id.0 > node.0))
    };
    graph.nodes.remove(node.0);
    graph.nodes.iter_mut().flat_map(|node| &mut node.inputs).for_each(|input| *input = moved(*input));
    graph.feature_taps.iter_mut().for_each(|tap| tap.node = moved(tap.node));
    graph.output = moved(graph.output);
}

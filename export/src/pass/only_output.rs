//! Keeps what the output reaches: projection heads and other parts of training cannot ship.

use std::collections::BTreeSet;

use super::Model;

/// Drops nodes, taps and weights that the output does not need.
pub fn only_output((graph, mut weights): Model) -> Model {
    let graph = graph.only_output();
    let needed: BTreeSet<String> = graph.parameters().into_iter().map(|parameter| parameter.name).collect();
    weights.retain(|name, _| needed.contains(name));
    (graph, weights)
}

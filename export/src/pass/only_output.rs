//! Removal of nodes that the output does not depend on, such as projection heads, which are used in training only.

use std::collections::BTreeSet;

use super::Model;

/// Removes the nodes and weights that the output does not depend on, and all feature taps.
pub fn only_output((graph, mut weights): Model) -> Model {
    let graph = graph.only_output();
    let needed: BTreeSet<String> = graph.parameters().into_iter().map(|parameter| parameter.name).collect();
    weights.retain(|name, _| needed.contains(name));
    (graph, weights)
}

//! Image input: the network takes the image as it is stored, u8 `B H W 3`, and normalises it.
//!
//! The first convolution pads with zeros *after* normalisation. The mean is therefore subtracted in front of the convolution, because
//! folding it into the bias would give wrong values at the borders. The division by the standard deviation commutes with zero padding and is
//! folded into the weights.

use models::card::Normalisation;
use models::graph::{Conv, Graph, NodeId, Op};
use models::weights::Weights;
use onnx::names::INPUT;

use super::{Model, uses};

/// Replaces the feature input by an image input with the name that `infer` expects.
pub fn image_input((mut graph, mut weights): Model, normalisation: &Normalisation) -> Model {
    let input = graph.iter().find(|(_, node)| matches!(node.op, Op::Input { channels: 3 })).map(|(id, _)| id);
    let Some(input) = input else { return (graph, weights) };
    let mut std = normalisation.std;
    if let Some((name, conv)) = only_convolution(&graph, input) {
        scale_inputs(&mut weights, &name, conv, std);
        std = [1.0 / 255.0; 3];
    }
    let node = &mut graph.nodes[input.0];
    INPUT.clone_into(&mut node.name);
    node.op = Op::InputImage { mean: normalisation.mean, std };
    (graph, weights)
}

/// Returns name and shape of the convolution that is the input's only reader.
fn only_convolution(graph: &Graph, input: NodeId) -> Option<(String, Conv)> {
    if uses(graph)[input.0] != 1 {
        return None;
    }
    let reader = graph.nodes.iter().find(|node| node.inputs.contains(&input))?;
    if let Op::Conv(conv) = reader.op { Some((reader.name.clone(), conv)) } else { None }
}

/// Divides the weights of input channel c by 255 std[c], because the values of that channel are now larger by this factor.
fn scale_inputs(weights: &mut Weights, name: &str, conv: Conv, std: [f32; 3]) {
    let kernel = weights.get_mut(&format!("{name}.weight")).expect("a selected weight");
    for (i, plane) in kernel.data.chunks_mut(conv.kernel * conv.kernel).enumerate() {
        let factor = 1.0 / (255.0 * f64::from(std[i % conv.inputs]));
        for v in plane {
            *v = (f64::from(*v) * factor) as f32;
        }
    }
}

//! Translation of a [`Graph`] with its weights to a [`Net`], for predictions during training, without an ONNX file.
//!
//! Each node of the graph becomes one node of the net at the same index. Batch normalisation in inference mode is an affine map with the
//! running statistics, which [`super::fuse`] folds into the convolution before it.

use models::card::Normalisation;
use models::graph::{Graph, Node, Op as GraphOp};
use models::weights::{Array, Weights};
use support::{Context, Result, bail};

use super::net::{Conv, Depthwise, Net, Node as NetNode, Op};

/// Translates a graph whose input is a normalised image and whose output is one or two channels of logits.
///
/// The net normalises a u8 image by `normalisation`. Its result is the logit of class 1: the single channel, or channel 1 minus channel 0.
///
/// # Errors
/// A missing weight, or an operation that only exported graphs have.
pub(super) fn net(graph: &Graph, weights: &Weights, normalisation: &Normalisation) -> Result<Net> {
    let graph = graph.only_output();
    let side = graph.stride();
    let channels: Vec<usize> = graph.shapes(side, side)?.into_iter().map(|shape| shape.channels).collect();
    let mut nodes = Vec::with_capacity(graph.nodes.len() + 1);
    for (node, &channels) in graph.nodes.iter().zip(&channels) {
        let op = translate(node, weights, normalisation).doing(|| format!("preparing {}", node.name))?;
        let inputs = node.inputs.iter().map(|input| input.0).collect();
        nodes.push(NetNode { name: node.name.clone(), op, inputs, channels });
    }
    let output = graph.output.0;
    let logit = match channels[output] {
        1 => output,
        2 => subtract_background(&mut nodes, output),
        other => bail!("the graph has {other} channels of logits, expected 1 or 2"),
    };
    Ok(Net { nodes, logit })
}

/// Subtracts channel 0 from channel 1, in the weights of the last convolution if there is one, and returns the node of the logit.
fn subtract_background(nodes: &mut Vec<NetNode>, output: usize) -> usize {
    let last = &mut nodes[output];
    if let Op::Conv(conv) = &mut last.op {
        let (background, nucleus) = conv.weight.split_at(conv.weight.len() / 2);
        conv.weight = nucleus.iter().zip(background).map(|(nucleus, background)| nucleus - background).collect();
        conv.bias = vec![conv.bias[1] - conv.bias[0]];
        (conv.outputs, last.channels) = (1, 1);
        return output;
    }
    nodes.push(NetNode { name: "difference".to_owned(), op: Op::Difference, inputs: vec![output], channels: 1 });
    nodes.len() - 1
}

fn translate(node: &Node, weights: &Weights, normalisation: &Normalisation) -> Result<Op> {
    let array = |suffix: &str| parameter(node, suffix, weights);
    let bias = |has_bias: bool, outputs: usize| -> Result<Vec<f32>> {
        if has_bias { Ok(array("bias")?.data.clone()) } else { Ok(vec![0.0; outputs]) }
    };
    Ok(match &node.op {
        GraphOp::Input { channels: 3 } => {
            Op::Image { mean: normalisation.mean.map(|mean| 255.0 * mean), scale: normalisation.std.map(|std| 1.0 / (255.0 * std)) }
        }
        GraphOp::Conv(conv) => Op::Conv(Conv {
            outputs: conv.outputs,
            kernel: conv.kernel,
            stride: conv.stride,
            weight: array("weight")?.data.clone(),
            bias: bias(conv.bias, conv.outputs)?,
        }),
        GraphOp::Depthwise(conv) => {
            Op::Depthwise(Depthwise { stride: conv.stride, weight: array("weight")?.data.clone(), bias: bias(conv.bias, conv.channels)? })
        }
        GraphOp::BatchNorm { eps, .. } => {
            let [weight, bias] = [array("weight")?, array("bias")?];
            let [mean, variance] = [array("running_mean")?, array("running_var")?];
            fold_statistics([weight, bias, mean, variance], *eps)
        }
        GraphOp::Relu => Op::Relu,
        GraphOp::Relu6 => Op::Relu6,
        GraphOp::Add => Op::Add,
        GraphOp::MaxPool => Op::MaxPool,
        GraphOp::Upsample => Op::Upsample,
        GraphOp::Concat => Op::Concat,
        GraphOp::Input { .. } | GraphOp::InputImage { .. } | GraphOp::UpConv(_) | GraphOp::Probability | GraphOp::Quantise => {
            bail!("{:?} is not an operation of a network in training", node.op)
        }
    })
}

/// Returns batch normalisation with running statistics (Ioffe and Szegedy 2015) as gain and offset of each channel; in f64, rounded once.
fn fold_statistics([weight, bias, mean, variance]: [&Array; 4], eps: f64) -> Op {
    let gain: Vec<f64> = weight.data.iter().zip(&variance.data).map(|(w, v)| f64::from(*w) / (f64::from(*v) + eps).sqrt()).collect();
    let offset = bias.data.iter().zip(&mean.data).zip(&gain).map(|((b, m), gain)| (f64::from(*b) - f64::from(*m) * gain) as f32).collect();
    Op::Affine { gain: gain.iter().map(|&gain| gain as f32).collect(), offset }
}

fn parameter<'a>(node: &Node, suffix: &str, weights: &'a Weights) -> Result<&'a Array> {
    let name = format!("{}.{suffix}", node.name);
    match weights.get(&name) {
        Some(array) => Ok(array),
        None => bail!("the weight {name:?} is missing"),
    }
}

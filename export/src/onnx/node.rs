//! One node of the graph as ONNX nodes. Values are named as the nodes that make them.

use infer::onnx_proto::{FLOAT, NodeProto, TensorProto, UINT8};
use infer::segmenter::INPUT;
use models::graph::{Conv, Feature, Graph, NodeId, Op};

use super::proto::{float, floats, int, integers, ints, node, text};

/// The name of a node's value.
fn value(graph: &Graph, id: NodeId) -> String {
    match &graph.node(id).op {
        Op::Input { .. } => super::FEATURES.to_owned(),
        Op::InputImage { .. } => format!("{INPUT}.normalised"),
        Op::Conv(_)
        | Op::BatchNorm { .. }
        | Op::Relu
        | Op::Add
        | Op::MaxPool
        | Op::Upsample
        | Op::Concat
        | Op::Probability
        | Op::Quantise => graph.node(id).name.clone(),
    }
}

/// Appends what computes the value of node `id`, and the constants it needs.
pub fn write(graph: &Graph, id: NodeId, shapes: &[Feature], nodes: &mut Vec<NodeProto>, constants: &mut Vec<TensorProto>) {
    let output = &value(graph, id);
    let inputs: Vec<String> = graph.node(id).inputs.iter().map(|&input| value(graph, input)).collect();
    let x = inputs.first().map_or("", String::as_str);
    let parameter = |suffix: &str| format!("{output}.{suffix}");
    match &graph.node(id).op {
        Op::Input { .. } => {}
        Op::InputImage { mean, std } => image(output, *mean, *std, nodes, constants),
        Op::Conv(conv) => nodes.push(convolution(conv, x, output)),
        Op::BatchNorm { eps, .. } => {
            let parameters = ["weight", "bias", "running_mean", "running_var"].map(parameter);
            let [scale, shift, mean, var] = parameters.each_ref().map(String::as_str);
            nodes.push(node("BatchNormalization", &[x, scale, shift, mean, var], output, vec![float("epsilon", *eps as f32)]));
        }
        Op::Relu => nodes.push(node("Relu", &[x], output, vec![])),
        Op::Add => nodes.push(node("Add", &[x, &inputs[1]], output, vec![])),
        Op::MaxPool => {
            let window = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4]), ints("strides", &[2, 2])];
            nodes.push(node("MaxPool", &[x], output, window));
        }
        Op::Upsample => nodes.push(upsample(x, output, constants)),
        Op::Concat => nodes.push(node("Concat", &[x, &inputs[1]], output, vec![int("axis", 1)])),
        Op::Probability => probability(x, shapes[graph.node(id).inputs[0].0].channels, output, nodes, constants),
        Op::Quantise => quantise(x, output, nodes, constants),
    }
}

/// u8 `N H W 3` to f32 `N 3 H W`: `(v - 255 mean) / (255 std)`. Cast comes first: transposing bytes is slow in ONNX Runtime.
fn image(output: &str, mean: [f32; 3], std: [f32; 3], nodes: &mut Vec<NodeProto>, constants: &mut Vec<TensorProto>) {
    let [cast, planes, centred, mean_name, scale_name] =
        ["f32", "planes", "centred", "mean", "scale"].map(|suffix| format!("{INPUT}.{suffix}"));
    let scale = std.map(|std| (1.0 / (255.0 * f64::from(std))) as f32);
    let is_scaled = scale.iter().any(|scale| (scale - 1.0).abs() > 1e-6);
    nodes.push(node("Cast", &[INPUT], &cast, vec![int("to", FLOAT.into())]));
    nodes.push(node("Transpose", &[&cast], &planes, vec![ints("perm", &[0, 3, 1, 2])]));
    constants.push(floats(&mean_name, &[1, 3, 1, 1], &mean.map(|mean| (255.0 * f64::from(mean)) as f32)));
    nodes.push(node("Sub", &[&planes, &mean_name], if is_scaled { &centred } else { output }, vec![]));
    if is_scaled {
        constants.push(floats(&scale_name, &[1, 3, 1, 1], &scale));
        nodes.push(node("Mul", &[&centred, &scale_name], output, vec![]));
    }
}

fn convolution(conv: &Conv, x: &str, name: &str) -> NodeProto {
    let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
    let inputs = [x, &weight, &bias];
    let attributes = vec![ints("kernel_shape", &[conv.kernel; 2]), ints("pads", &[conv.kernel / 2; 4]), ints("strides", &[conv.stride; 2])];
    node("Conv", if conv.bias { &inputs } else { &inputs[..2] }, name, attributes)
}

fn upsample(x: &str, output: &str, constants: &mut Vec<TensorProto>) -> NodeProto {
    const SCALES: &str = "upsample.scales";
    if constants.iter().all(|constant| constant.name != SCALES) {
        constants.push(floats(SCALES, &[4], &[1.0, 1.0, 2.0, 2.0]));
    }
    let nearest = vec![text("coordinate_transformation_mode", "asymmetric"), text("mode", "nearest"), text("nearest_mode", "floor")];
    node("Resize", &[x, "", SCALES], output, nearest)
}

/// `sigmoid(z1 - z0)`, or `sigmoid(z)` of a single channel; `N C H W` to `N H W`.
fn probability(x: &str, channels: usize, output: &str, nodes: &mut Vec<NodeProto>, constants: &mut Vec<TensorProto>) {
    let part = |suffix: &str| format!("{output}.{suffix}");
    let [axis, z0, z1, difference, map] = ["axis", "z0", "z1", "difference", "map"].map(part);
    constants.push(integers(&axis, &[1]));
    let logit = if channels == 1 {
        x
    } else {
        assert_eq!(channels, 2, "{output}: probability of {channels} channels");
        for (z, start) in [(&z0, 0), (&z1, 1)] {
            let (from, to) = (format!("{z}.from"), format!("{z}.to"));
            constants.push(integers(&from, &[start]));
            constants.push(integers(&to, &[start + 1]));
            nodes.push(node("Slice", &[x, &from, &to, &axis], z, vec![]));
        }
        nodes.push(node("Sub", &[&z1, &z0], &difference, vec![]));
        &difference
    };
    nodes.push(node("Sigmoid", &[logit], &map, vec![]));
    nodes.push(node("Squeeze", &[&map, &axis], output, vec![]));
}

/// `round(255 p)`, ties to even, as `Round` is defined.
fn quantise(x: &str, output: &str, nodes: &mut Vec<NodeProto>, constants: &mut Vec<TensorProto>) {
    let part = |suffix: &str| format!("{output}.{suffix}");
    let [levels, scaled, rounded] = ["levels", "scaled", "rounded"].map(part);
    constants.push(floats(&levels, &[], &[255.0]));
    nodes.push(node("Mul", &[x, &levels], &scaled, vec![]));
    nodes.push(node("Round", &[&scaled], &rounded, vec![]));
    nodes.push(node("Cast", &[&rounded], output, vec![int("to", UINT8.into())]));
}

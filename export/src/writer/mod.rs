//! ONNX encoding of a graph (opset 17). Each node of the graph becomes one or a few ONNX nodes; initializers have the names of the
//! parameters. The same inputs give the same bytes.
//!
//! | module | contents |
//! |---|---|
//! | `node` | ONNX nodes of each operation |
//! | `ends` | ONNX nodes of image input and probability outputs |
//! | `integer` | 8-bit arithmetic |

mod ends;
mod integer;
mod node;

pub use integer::integer_values;

use std::collections::BTreeMap;

use models::graph::{Feature, Graph, NodeId, Op};
use models::weights::Weights;
use onnx::names::INPUT;
use onnx::proto::{
    DimensionProto, FLOAT, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TensorTypeProto,
    TypeProto, UINT8, ValueInfoProto,
};
use onnx::seal::seal;
use prost::Message;
use support::Result;

use node::Writer;

/// Name of the input of graphs that take features, f32 `N C H W`. Image inputs are named [`INPUT`].
pub const FEATURES: &str = "input";

/// Arithmetic of the inner layers. Inputs and outputs have the same types in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Arithmetic {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers, with the range of each node's values by the node's name. Nodes without a range stay in f32.
    Int8(BTreeMap<String, [f32; 2]>),
}

/// An encoded ONNX file and the size of its network.
#[derive(Clone, Debug)]
pub struct Written {
    /// Contents of the file, sealed.
    pub bytes: Vec<u8>,
    /// Number of ONNX nodes.
    pub nodes: usize,
    /// Number of weights.
    pub parameters: usize,
}

/// Encodes a graph with its weights and `metadata`.
///
/// ONNX outputs are the values of [`Op::Probability`] and [`Op::Quantise`] nodes, the graph's output if it is neither of them, and the
/// feature taps (in f32 arithmetic only), each under the name of its node.
///
/// # Errors
/// Shapes of the graph that do not fit.
pub fn write(graph: &Graph, weights: &Weights, arithmetic: &Arithmetic, metadata: &BTreeMap<String, String>) -> Result<Written> {
    let stride = graph.stride();
    let shapes = graph.shapes(stride, stride)?;
    let mut writer = Writer { graph, weights, arithmetic, shapes, nodes: Vec::new(), constants: Vec::new() };
    for (id, _) in graph.iter() {
        writer.write(id);
    }
    let outputs = outputs(&writer);
    let Writer { nodes, constants: initializers, .. } = writer;
    let parameters = graph.parameters().iter().map(models::graph::Parameter::count).sum();
    let count = nodes.len();
    let model = ModelProto {
        ir_version: 8,
        producer_name: "export".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(GraphProto {
            node: nodes,
            name: "segmentation".into(),
            initializer: initializers,
            input: inputs(graph),
            output: outputs,
            sparse_initializer: Vec::new(),
        }),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        metadata_props: metadata.iter().map(|(key, value)| StringStringEntryProto { key: key.clone(), value: value.clone() }).collect(),
        ..ModelProto::default()
    };
    Ok(Written { bytes: seal(model.encode_to_vec()), nodes: count, parameters })
}

/// Returns the ONNX name of a node's value in f32 arithmetic.
pub fn value_name(graph: &Graph, id: NodeId) -> String {
    node::value_name(graph, id, &Arithmetic::F32)
}

/// Declarations of the graph's inputs, with named batch and image extents.
fn inputs(graph: &Graph) -> Vec<ValueInfoProto> {
    let of = |op: &Op| match op {
        Op::Input { channels } => Some(value(FEATURES, FLOAT, &[named("N"), fixed(*channels), named("H"), named("W")])),
        Op::InputImage { .. } => Some(value(INPUT, UINT8, &[named("N"), named("H"), named("W"), fixed(3)])),
        Op::Conv(_)
        | Op::Depthwise(_)
        | Op::UpConv(_)
        | Op::BatchNorm { .. }
        | Op::Relu
        | Op::Relu6
        | Op::Add
        | Op::MaxPool
        | Op::Upsample
        | Op::Concat
        | Op::Probability
        | Op::Quantise => None,
    };
    graph.nodes.iter().filter_map(|node| of(&node.op)).collect()
}

/// Declarations of the ONNX outputs. Extents that differ from the image's get names of their own.
fn outputs(writer: &Writer<'_>) -> Vec<ValueInfoProto> {
    let graph = writer.graph;
    let image_shaped = |id: NodeId, element| value(&graph.node(id).name, element, &[named("N"), named("H"), named("W")]);
    let of = |(id, op): (NodeId, &Op)| match op {
        Op::Probability => Some(image_shaped(id, FLOAT)),
        Op::Quantise => Some(image_shaped(id, UINT8)),
        Op::Input { .. }
        | Op::InputImage { .. }
        | Op::Conv(_)
        | Op::Depthwise(_)
        | Op::UpConv(_)
        | Op::BatchNorm { .. }
        | Op::Relu
        | Op::Relu6
        | Op::Add
        | Op::MaxPool
        | Op::Upsample
        | Op::Concat => (id == graph.output || graph.feature_taps.iter().any(|tap| tap.node == id)).then(|| {
            let Feature { channels, height, .. } = writer.shapes[id.0];
            let extents = if height == graph.stride() {
                ["H".to_owned(), "W".to_owned()]
            } else {
                ["H", "W"].map(|e| format!("{e} of {}", writer.output_name(id)))
            };
            let [h, w] = extents.each_ref().map(|extent| named(extent));
            value(&writer.output_name(id), FLOAT, &[named("N"), fixed(channels), h, w])
        }),
    };
    graph.iter().filter_map(|(id, node)| of((id, &node.op))).collect()
}

/// Declares a tensor.
fn value(name: &str, elem_type: i32, shape: &[DimensionProto]) -> ValueInfoProto {
    let tensor_type = TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim: shape.to_vec() }) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

fn named(name: &str) -> DimensionProto {
    DimensionProto { dim_value: None, dim_param: Some(name.to_owned()) }
}

fn fixed(extent: usize) -> DimensionProto {
    DimensionProto { dim_value: Some(extent as i64), dim_param: None }
}

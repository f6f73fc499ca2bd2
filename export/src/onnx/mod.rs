//! The ONNX file: opset 17, one node or a few per node of the graph, initializers named as the parameters, the same bytes on every run.

mod node;
mod proto;

use std::collections::BTreeMap;

use infer::model::seal;
use infer::onnx_proto::{
    DimensionProto, FLOAT, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TensorTypeProto,
    TypeProto, UINT8, ValueInfoProto,
};
use infer::segmenter::INPUT;
use models::Result;
use models::graph::{Feature, Graph, NodeId, Op};
use models::weights::Weights;
use prost::Message;

/// Name of the input of graphs that take features, f32 `N C H W`; images enter as [`INPUT`].
pub const FEATURES: &str = "input";

/// An ONNX file and how large its network is.
#[derive(Clone, Debug)]
pub struct Written {
    /// The file, sealed.
    pub bytes: Vec<u8>,
    /// Number of ONNX nodes.
    pub nodes: usize,
    /// Number of weights.
    pub parameters: usize,
}

/// Writes a graph with its weights. Outputs: the values of [`Op::Probability`] and [`Op::Quantise`] under their nodes' names,
/// or that of the graph's output where it is neither.
///
/// `metadata` is stored in the order of its keys.
pub fn write(graph: &Graph, weights: &Weights, metadata: &BTreeMap<String, String>) -> Result<Written> {
    let stride = graph.stride();
    let shapes = graph.shapes(stride, stride)?;
    let mut nodes = Vec::new();
    let mut initializers: Vec<_> = graph
        .parameters()
        .iter()
        .map(|parameter| {
            let array = &weights[&parameter.name];
            proto::floats(&parameter.name, &array.shape, &array.data)
        })
        .collect();
    for (id, _) in graph.iter() {
        node::write(graph, id, &shapes, &mut nodes, &mut initializers);
    }
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
            output: outputs(graph, &shapes),
            sparse_initializer: Vec::new(),
        }),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        metadata_props: metadata.iter().map(|(key, value)| StringStringEntryProto { key: key.clone(), value: value.clone() }).collect(),
        ..ModelProto::default()
    };
    Ok(Written { bytes: seal(model.encode_to_vec()), nodes: count, parameters })
}

fn inputs(graph: &Graph) -> Vec<ValueInfoProto> {
    let of = |op: &Op| match op {
        Op::Input { channels } => Some(value(FEATURES, FLOAT, &[named("N"), fixed(*channels), named("H"), named("W")])),
        Op::InputImage { .. } => Some(value(INPUT, UINT8, &[named("N"), named("H"), named("W"), fixed(3)])),
        Op::Conv(_)
        | Op::BatchNorm { .. }
        | Op::Relu
        | Op::Add
        | Op::MaxPool
        | Op::Upsample
        | Op::Concat
        | Op::Probability
        | Op::Quantise => None,
    };
    graph.nodes.iter().filter_map(|node| of(&node.op)).collect()
}

fn outputs(graph: &Graph, shapes: &[Feature]) -> Vec<ValueInfoProto> {
    let map = |id: NodeId, element| value(&graph.node(id).name, element, &[named("N"), named("H"), named("W")]);
    let of = |(id, op): (NodeId, &Op)| match op {
        Op::Probability => Some(map(id, FLOAT)),
        Op::Quantise => Some(map(id, UINT8)),
        Op::Input { .. }
        | Op::InputImage { .. }
        | Op::Conv(_)
        | Op::BatchNorm { .. }
        | Op::Relu
        | Op::Add
        | Op::MaxPool
        | Op::Upsample
        | Op::Concat => (id == graph.output).then(|| {
            let Feature { channels, height, .. } = shapes[id.0];
            let [h, w] = if height == graph.stride() { ["H", "W"] } else { ["output H", "output W"] };
            value(&graph.node(id).name, FLOAT, &[named("N"), fixed(channels), named(h), named(w)])
        }),
    };
    graph.iter().filter_map(|(id, node)| of((id, &node.op))).collect()
}

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

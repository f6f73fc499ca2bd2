//! From an ONNX graph to a [`Net`], node by node. What is not understood to the last attribute is not run.

mod convolutions;
mod ends;
mod maps;

use std::collections::HashMap;

use support::{Context, Result, bail};

use super::attributes::{Attributes, Constant, floats};
use super::net::{Net, Node, Op};
use onnx::names::{INPUT, PROBABILITY, QUANTISED};
use onnx::proto::{GraphProto, NodeProto, TensorProto};

/// What a name of the file stands for while it is read.
#[derive(Clone, Debug)]
enum Value {
    /// A node of the net.
    Node(usize),
    /// The image: as it comes, as floats, as planes.
    Image(Stage),
    /// The image's planes with the mean taken away.
    Centred([f32; 3]),
    /// A convolution for the output pixels of one parity.
    Phase(Phase),
    /// All four.
    Phases(Vec<Phase>),
    /// One channel of a node.
    Channel(usize, i64),
    /// What follows the logit.
    Tail(Tail),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Bytes,
    Floats,
    Planes,
}

#[derive(Clone, Debug)]
struct Phase {
    x: usize,
    kernel: Constant,
    bias: Vec<f32>,
    pads: Vec<i64>,
}

/// Steps from the logit to the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Tail {
    Sigmoid,
    Probability,
    Levels,
    Rounded,
    Bytes,
}

struct Reader<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    made: HashMap<&'a str, Value>,
    nodes: Vec<Node>,
    logit: Option<usize>,
}

/// The network of a graph whose operators were checked; the error says which node has no kernel here, and why.
pub fn read(graph: &GraphProto) -> Result<Net> {
    let mut reader = Reader {
        constants: graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
        made: HashMap::from([(INPUT, Value::Image(Stage::Bytes))]),
        nodes: Vec::new(),
        logit: None,
    };
    for node in &graph.node {
        reader.node(node).doing(|| format!("the node {:?} ({})", node.output.first().map_or("", String::as_str), node.op_type))?;
    }
    let is = |name: &str, tail: Tail| matches!(reader.made.get(name), Some(Value::Tail(found)) if *found == tail);
    if !is(PROBABILITY, Tail::Probability) || !is(QUANTISED, Tail::Bytes) {
        bail!("the outputs {PROBABILITY:?} and {QUANTISED:?} are not a probability and its bytes");
    }
    let Some(logit) = reader.logit else { bail!("there is no logit") };
    Ok(Net { nodes: reader.nodes, logit })
}

impl<'a> Reader<'a> {
    fn node(&mut self, node: &'a NodeProto) -> Result<()> {
        let [output] = node.output.as_slice() else { bail!("expected one output, found {}", node.output.len()) };
        let mut attributes = Attributes::of(node);
        let value = match node.op_type.as_str() {
            "Cast" => self.cast(node, &mut attributes)?,
            "Transpose" => self.transpose(node, &mut attributes)?,
            "Sub" => self.sub(node)?,
            "Mul" => self.mul(node)?,
            "Conv" => self.conv(node, &mut attributes)?,
            "ConvTranspose" => self.conv_transpose(node, &mut attributes)?,
            "DepthToSpace" => self.weave(node, &mut attributes)?,
            "BatchNormalization" => self.norm(node, &mut attributes)?,
            "Relu" => self.simple(node, Op::Relu)?,
            "Clip" => self.clip(node)?,
            "Add" => self.simple(node, Op::Add)?,
            "Concat" => self.concat(node, &mut attributes)?,
            "MaxPool" => self.max_pool(node, &mut attributes)?,
            "Resize" => self.upsample(node, &mut attributes)?,
            "Slice" => self.slice(node)?,
            "Sigmoid" => self.sigmoid(node)?,
            "Squeeze" => self.tail(node, Tail::Sigmoid, Tail::Probability, Some([1]))?,
            "Round" => self.tail(node, Tail::Levels, Tail::Rounded, None)?,
            "QuantizeLinear" | "DequantizeLinear" => bail!("8-bit arithmetic has no kernel here"),
            other => bail!("{other} has no kernel here"),
        };
        attributes.end()?;
        self.made.insert(output, value);
        Ok(())
    }

    fn value(&self, node: &NodeProto, input: usize) -> Result<&Value> {
        let name = node.input.get(input).map_or("", String::as_str);
        match self.made.get(name) {
            Some(value) => Ok(value),
            None => bail!("its input {name:?} is no value of the network"),
        }
    }

    /// The node of the net that an input stands for.
    fn map(&mut self, node: &NodeProto, input: usize) -> Result<usize> {
        match *self.value(node, input)? {
            Value::Node(id) => Ok(id),
            Value::Centred(mean) => Ok(self.push(format!("{INPUT}.centred"), Op::Image { mean, scale: [1.0; 3] }, Vec::new(), 3)),
            _ => bail!("its input {:?} is no feature map", node.input[input]),
        }
    }

    fn push(&mut self, name: String, op: Op, inputs: Vec<usize>, channels: usize) -> usize {
        self.nodes.push(Node { name, op, inputs, channels });
        self.nodes.len() - 1
    }

    fn named(&mut self, node: &NodeProto, op: Op, inputs: Vec<usize>, channels: usize) -> Value {
        Value::Node(self.push(node.output[0].clone(), op, inputs, channels))
    }

    fn tensor(&self, node: &NodeProto, input: usize) -> Result<&'a TensorProto> {
        let name = node.input.get(input).map_or("", String::as_str);
        match self.constants.get(name) {
            Some(tensor) => Ok(tensor),
            None => bail!("its input {name:?} is no constant of the file"),
        }
    }

    /// A vector of `count` values; zeros where the input is not given.
    fn vector(&self, node: &NodeProto, input: usize, count: usize) -> Result<Vec<f32>> {
        if node.input.get(input).is_none_or(String::is_empty) {
            return Ok(vec![0.0; count]);
        }
        let constant = floats(self.tensor(node, input)?)?;
        if constant.shape != [count] {
            bail!("expected {count} values in {:?}, found {:?}", node.input[input], constant.shape);
        }
        Ok(constant.values)
    }

    /// One value for each of three planes.
    fn of_planes(&self, node: &NodeProto) -> Result<[f32; 3]> {
        let constant = floats(self.tensor(node, 1)?)?;
        match (constant.shape.as_slice(), constant.values.as_slice()) {
            ([1, 3, 1, 1], &[r, g, b]) => Ok([r, g, b]),
            (shape, _) => bail!("expected a value for each plane of the image, found {shape:?}"),
        }
    }
}

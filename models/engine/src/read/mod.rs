//! Translation of an ONNX graph to a [`Net`], node by node. A node with an unknown operator, operand or attribute is an error.

mod convolutions;
mod input_output;
mod layers;

use std::collections::HashMap;

use support::{Context, Result, bail};

use super::attributes::{Attributes, Constant, f32_constant};
use super::net::{Net, Node, Op};
use onnx::names::{INPUT, PROBABILITY, QUANTISED};
use onnx::proto::{GraphProto, NodeProto, TensorProto};

/// Meaning of a tensor name of the graph.
#[derive(Clone, Debug)]
enum Value {
    /// Feature map of a node of the net.
    Node(usize),
    /// The image before its mean is subtracted.
    Image(ImageForm),
    /// The image `B C H W` minus the mean of each channel.
    Centred([f32; 3]),
    /// Convolution for the output pixels of one phase (row and column modulo 2).
    Phase(Phase),
    /// Convolutions of all four phases, concatenated.
    Phases(Vec<Phase>),
    /// One channel of a node, by its number.
    Channel(usize, i64),
    /// Probability computed from the logit.
    OutputForm(OutputForm),
}

/// Type and layout of the image.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ImageForm {
    /// u8, `B H W C`.
    Bytes,
    /// f32, `B H W C`.
    Floats,
    /// f32, `B C H W`.
    Planes,
}

/// A 2x2 convolution of node `x` that computes one phase of the convolution of the upsampled node.
#[derive(Clone, Debug)]
struct Phase {
    x: usize,
    /// Weights `O I 2 2`.
    kernel: Constant,
    bias: Vec<f32>,
    pads: Vec<i64>,
}

/// Steps of the conversion of the logit to bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum OutputForm {
    /// Probability `B 1 H W`.
    Sigmoid,
    /// Probability `B H W`.
    Probability,
    /// 255 times the probability.
    Levels,
    Rounded,
    /// u8 in 0..=255.
    Bytes,
}

/// Largest number of channels of a feature map, sixteen times that of the widest known encoder.
const MAX_CHANNELS: usize = 1 << 16;

/// State of the translation.
struct Reader<'a> {
    constants: HashMap<&'a str, &'a TensorProto>,
    values: HashMap<&'a str, Value>,
    nodes: Vec<Node>,
    logit: Option<usize>,
}

/// Translates the graph of a model file.
///
/// # Errors
/// A node without a kernel, named with the reason; or a graph without the outputs of a model file.
pub fn read(graph: &GraphProto) -> Result<Net> {
    let mut reader = Reader {
        constants: graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect(),
        values: HashMap::from([(INPUT, Value::Image(ImageForm::Bytes))]),
        nodes: Vec::new(),
        logit: None,
    };
    for node in &graph.node {
        reader.translate(node).doing(|| format!("the node {:?} ({})", node.output.first().map_or("", String::as_str), node.op_type))?;
    }
    let has_form = |name: &str, form: OutputForm| matches!(reader.values.get(name), Some(Value::OutputForm(found)) if *found == form);
    if !has_form(PROBABILITY, OutputForm::Probability) || !has_form(QUANTISED, OutputForm::Bytes) {
        bail!("the outputs {PROBABILITY:?} and {QUANTISED:?} are not a probability and its quantised form");
    }
    let Some(logit) = reader.logit else { bail!("the graph has no logit") };
    Ok(Net { nodes: reader.nodes, logit })
}

impl<'a> Reader<'a> {
    /// Translates one node.
    fn translate(&mut self, node: &'a NodeProto) -> Result<()> {
        let [output] = node.output.as_slice() else { bail!("expected one output, found {}", node.output.len()) };
        let mut attributes = Attributes::new(node);
        let value = match node.op_type.as_str() {
            "Cast" => self.cast(node, &mut attributes)?,
            "Transpose" => self.transpose(node, &mut attributes)?,
            "Sub" => self.sub(node)?,
            "Mul" => self.mul(node)?,
            "Conv" => self.conv(node, &mut attributes)?,
            "ConvTranspose" => self.conv_transpose(node, &mut attributes)?,
            "DepthToSpace" => self.depth_to_space(node, &mut attributes)?,
            "BatchNormalization" => self.batch_norm(node, &mut attributes)?,
            "Relu" => self.unweighted(node, Op::Relu)?,
            "Clip" => self.clip(node)?,
            "Add" => self.unweighted(node, Op::Add)?,
            "Concat" => self.concat(node, &mut attributes)?,
            "MaxPool" => self.max_pool(node, &mut attributes)?,
            "Resize" => self.upsample(node, &mut attributes)?,
            "Slice" => self.slice(node)?,
            "Sigmoid" => self.sigmoid(node)?,
            "Squeeze" => self.output(node, OutputForm::Sigmoid, OutputForm::Probability, Some([1]))?,
            "Round" => self.output(node, OutputForm::Levels, OutputForm::Rounded, None)?,
            "QuantizeLinear" | "DequantizeLinear" => bail!("8-bit arithmetic has no kernel here"),
            other => bail!("{other} has no kernel here"),
        };
        attributes.finish()?;
        if let Some(node) = self.nodes.last().filter(|node| node.channels > MAX_CHANNELS) {
            bail!("expected at most {MAX_CHANNELS} channels, found {}", node.channels);
        }
        self.values.insert(output, value);
        Ok(())
    }

    /// Returns the meaning of an operand that is computed by the graph.
    fn value(&self, node: &NodeProto, input: usize) -> Result<&Value> {
        let name = node.input.get(input).map_or("", String::as_str);
        match self.values.get(name) {
            Some(value) => Ok(value),
            None => bail!("its input {name:?} is not computed by an earlier node"),
        }
    }

    /// Returns the node whose feature map is an operand.
    fn feature_map(&mut self, node: &NodeProto, input: usize) -> Result<usize> {
        match *self.value(node, input)? {
            Value::Node(id) => Ok(id),
            Value::Centred(mean) => Ok(self.push(format!("{INPUT}.centred"), Op::Image { mean, scale: [1.0; 3] }, Vec::new(), 3)),
            _ => bail!("its input {:?} is not a feature map", node.input[input]),
        }
    }

    fn push(&mut self, name: String, op: Op, inputs: Vec<usize>, channels: usize) -> usize {
        self.nodes.push(Node { name, op, inputs, channels });
        self.nodes.len() - 1
    }

    /// Adds a node that is named like the output of an ONNX node.
    fn named(&mut self, node: &NodeProto, op: Op, inputs: Vec<usize>, channels: usize) -> Value {
        Value::Node(self.push(node.output[0].clone(), op, inputs, channels))
    }

    /// Returns an operand that is a constant.
    fn tensor(&self, node: &NodeProto, input: usize) -> Result<&'a TensorProto> {
        let name = node.input.get(input).map_or("", String::as_str);
        match self.constants.get(name) {
            Some(tensor) => Ok(tensor),
            None => bail!("its input {name:?} is not a constant of the file"),
        }
    }

    /// Returns a constant vector of `count` values, zeros if the optional operand is absent.
    fn vector(&self, node: &NodeProto, input: usize, count: usize) -> Result<Vec<f32>> {
        if node.input.get(input).is_none_or(String::is_empty) {
            return Ok(vec![0.0; count]);
        }
        let constant = f32_constant(self.tensor(node, input)?)?;
        if constant.shape != [count] {
            bail!("expected {count} values in {:?}, found {:?}", node.input[input], constant.shape);
        }
        Ok(constant.values)
    }

    /// Returns a constant with one value per channel of the image.
    fn channel_constant(&self, node: &NodeProto) -> Result<[f32; 3]> {
        let constant = f32_constant(self.tensor(node, 1)?)?;
        match (constant.shape.as_slice(), constant.values.as_slice()) {
            ([1, 3, 1, 1], &[r, g, b]) => Ok([r, g, b]),
            (shape, _) => bail!("expected one value per channel of the image, found {shape:?}"),
        }
    }
}

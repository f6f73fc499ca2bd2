//! ONNX nodes of each graph operation. Values have the names of the nodes that compute them.

use models::graph::{Conv, Depthwise, Feature, Graph, NodeId, Op, UpConv, UpConvForm};
use models::weights::Weights;
use onnx::names::INPUT;
use onnx::proto::{FLOAT16, NodeProto, TensorProto};

use super::{Arithmetic, FEATURES};
use onnx::build::{float, floats, halves, int, ints, node, text};

/// Encoder state: the model to encode, and the nodes and constants written so far.
pub struct Writer<'a> {
    /// Graph to encode.
    pub graph: &'a Graph,
    /// Its weights.
    pub weights: &'a Weights,
    /// Arithmetic of the inner layers.
    pub arithmetic: &'a Arithmetic,
    /// Shapes of the nodes' values for an image of stride x stride pixels.
    pub shapes: Vec<Feature>,
    /// Nodes written so far, in topological order.
    pub nodes: Vec<NodeProto>,
    /// Weights and constants written so far.
    pub constants: Vec<TensorProto>,
}

impl Writer<'_> {
    /// Appends the ONNX nodes that compute the value of node `id`, and their constants.
    pub fn write(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let output = &self.output_name(id);
        let inputs: Vec<String> = node.inputs.iter().map(|&input| self.input_name(input)).collect();
        let x = inputs.first().map_or("", String::as_str);
        match &node.op {
            Op::Input { .. } => self.cast_features(),
            Op::InputImage { mean, std } => self.normalise_image(output, *mean, *std),
            Op::Conv(_) | Op::Depthwise(_) => self.convolution(id, x, output),
            Op::UpConv(conv) => match conv.form {
                UpConvForm::Transposed => self.transposed(conv, x, output),
                UpConvForm::Phases => self.phases(conv, x, output),
            },
            Op::BatchNorm { eps, .. } => {
                let parameters = ["weight", "bias", "running_mean", "running_var"].map(|suffix| self.parameter(output, suffix));
                let [scale, shift, mean, var] = parameters.each_ref().map(String::as_str);
                self.node("BatchNormalization", &[x, scale, shift, mean, var], output, vec![float("epsilon", *eps as f32)]);
            }
            Op::Relu => self.node("Relu", &[x], output, vec![]),
            Op::Relu6 => self.clip(x, output),
            Op::Add => self.node("Add", &[x, &inputs[1]], output, vec![]),
            Op::MaxPool => {
                let window = vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4]), ints("strides", &[2, 2])];
                self.node("MaxPool", &[x], output, window);
            }
            Op::Upsample => self.upsample(x, output),
            Op::Concat => self.node("Concat", &[x, &inputs[1]], output, vec![int("axis", 1)]),
            Op::Probability => self.probability(x, self.shapes[node.inputs[0].0].channels, output),
            Op::Quantise => self.quantise(x, output),
        }
        self.quantise_dequantise(id);
    }

    /// ONNX name of a node's value.
    pub fn output_name(&self, id: NodeId) -> String {
        value_name(self.graph, id, self.arithmetic)
    }

    /// Appends an ONNX node.
    pub(super) fn node(&mut self, op_type: &str, inputs: &[&str], output: &str, attributes: Vec<onnx::proto::AttributeProto>) {
        self.nodes.push(node(op_type, inputs, output, attributes));
    }

    /// Appends a constant: f16 in [`Arithmetic::F16`], f32 otherwise.
    pub(super) fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.constants.push(match self.arithmetic {
            Arithmetic::F16 => halves(name, shape, values),
            Arithmetic::F32 | Arithmetic::Int8(_) => floats(name, shape, values),
        });
    }

    /// Appends the parameter `of.suffix` as a constant and returns its name.
    fn parameter(&mut self, of: &str, suffix: &str) -> String {
        let name = format!("{of}.{suffix}");
        let weights = self.weights;
        let array = &weights[&name];
        self.constant(&name, &array.shape, &array.data);
        name
    }

    /// Casts a feature input to f16 in [`Arithmetic::F16`].
    fn cast_features(&mut self) {
        if matches!(self.arithmetic, Arithmetic::F16) {
            self.node("Cast", &[FEATURES], &format!("{FEATURES}.f16"), vec![int("to", FLOAT16.into())]);
        }
    }

    /// Appends a convolution; a depthwise one has one group per channel.
    fn convolution(&mut self, id: NodeId, x: &str, name: &str) {
        let (kernel, stride, groups, bias) = match self.graph.node(id).op {
            Op::Conv(Conv { kernel, stride, bias, .. }) => (kernel, stride, 1, bias),
            Op::Depthwise(Depthwise { channels, stride, bias }) => (3, stride, channels, bias),
            _ => unreachable!("{name} is not a convolution"),
        };
        let mut inputs = vec![x.to_owned()];
        if let Some(names) = self.integer_weights(id) {
            inputs.extend(names);
        } else {
            inputs.push(self.parameter(name, "weight"));
            inputs.extend(bias.then(|| self.parameter(name, "bias")));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let mut attributes = vec![ints("kernel_shape", &[kernel; 2]), ints("pads", &[kernel / 2; 4]), ints("strides", &[stride; 2])];
        if groups > 1 {
            attributes.push(int("group", groups as i64));
        }
        self.node("Conv", &inputs, name, attributes);
    }

    /// Appends `min(max(x, 0), 6)`. All such nodes share the constants of the two limits.
    fn clip(&mut self, x: &str, output: &str) {
        const LIMITS: [(&str, f32); 2] = [("clip.low", 0.0), ("clip.high", 6.0)];
        if self.constants.iter().all(|constant| constant.name != LIMITS[0].0) {
            LIMITS.iter().for_each(|(name, value)| self.constant(name, &[], &[*value]));
        }
        self.node("Clip", &[x, LIMITS[0].0, LIMITS[1].0], output, vec![]);
    }

    /// Appends the convolution as one transposed convolution.
    fn transposed(&mut self, conv: &UpConv, x: &str, name: &str) {
        let mut inputs = vec![x.to_owned(), self.parameter(name, "weight")];
        inputs.extend(conv.bias.then(|| self.parameter(name, "bias")));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.node("ConvTranspose", &inputs, name, vec![ints("kernel_shape", &[4, 4]), ints("pads", &[1; 4]), ints("strides", &[2, 2])]);
    }

    /// Appends the convolution as four 2x2 convolutions, one for each parity of output row and column, whose results `DepthToSpace`
    /// interleaves.
    fn phases(&mut self, conv: &UpConv, x: &str, name: &str) {
        let weights = self.weights;
        let bias = conv.bias.then(|| self.parameter(name, "bias"));
        let phases: Vec<String> = (0..4).map(|phase| format!("{name}.phase{phase}")).collect();
        for (phase, output) in phases.iter().enumerate() {
            let (row, column) = (phase / 2, phase % 2);
            let kernel = format!("{output}.weight");
            self.constant(
                &kernel,
                &[conv.outputs, conv.inputs, 2, 2],
                &phase_kernel(&weights[&format!("{name}.weight")].data, conv, row, column),
            );
            let mut inputs = vec![x, &kernel];
            inputs.extend(bias.as_deref());
            let pads = [1 - row, 1 - column, row, column];
            self.node("Conv", &inputs, output, vec![ints("kernel_shape", &[2, 2]), ints("pads", &pads), ints("strides", &[1, 1])]);
        }
        let all: Vec<&str> = phases.iter().map(String::as_str).collect();
        let stacked = format!("{name}.phases");
        self.node("Concat", &all, &stacked, vec![int("axis", 1)]);
        self.node("DepthToSpace", &[&stacked], name, vec![int("blocksize", 2), text("mode", "DCR")]);
    }

    /// Appends nearest-neighbour upsampling by 2. All such nodes share the constant of the factors.
    fn upsample(&mut self, x: &str, output: &str) {
        const SCALES: &str = "upsample.scales";
        if self.constants.iter().all(|constant| constant.name != SCALES) {
            self.constants.push(floats(SCALES, &[4], &[1.0, 1.0, 2.0, 2.0]));
        }
        let nearest = vec![text("coordinate_transformation_mode", "asymmetric"), text("mode", "nearest"), text("nearest_mode", "floor")];
        self.node("Resize", &[x, "", SCALES], output, nearest);
    }
}

/// Returns the ONNX name of a node's value.
pub fn value_name(graph: &Graph, id: NodeId, arithmetic: &Arithmetic) -> String {
    match &graph.node(id).op {
        Op::Input { .. } if matches!(arithmetic, Arithmetic::F16) => format!("{FEATURES}.f16"),
        Op::Input { .. } => FEATURES.to_owned(),
        Op::InputImage { .. } => format!("{INPUT}.normalised"),
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
        | Op::Quantise => graph.node(id).name.clone(),
    }
}

/// Extracts the taps (`out in 2 2`) of a kernel `in out 4 4` that contribute to output pixels with the parities `row` and `column`.
fn phase_kernel(kernel: &[f32], conv: &UpConv, row: usize, column: usize) -> Vec<f32> {
    const TAPS: [[usize; 2]; 2] = [[3, 1], [2, 0]];
    let pairs = (0..conv.outputs).flat_map(|o| (0..conv.inputs).map(move |c| (o, c)));
    let at = |o: usize, c: usize, i: usize, j: usize| kernel[((c * conv.outputs + o) * 4 + i) * 4 + j];
    pairs.flat_map(|(o, c)| TAPS[row].into_iter().flat_map(move |i| TAPS[column].map(|j| at(o, c, i, j)))).collect()
}

//! One node of the graph as ONNX nodes. Values are named as the nodes that make them.

use models::graph::{Conv, Depthwise, Feature, Graph, NodeId, Op, UpConv, UpConvForm};
use models::weights::Weights;
use onnx::names::INPUT;
use onnx::proto::{FLOAT, FLOAT16, NodeProto, TensorProto, UINT8};

use super::{Arithmetic, FEATURES};
use onnx::build::{float, floats, halves, int, integers, ints, node, text};

/// What is written so far, and what it is written from.
pub struct Writer<'a> {
    pub graph: &'a Graph,
    pub weights: &'a Weights,
    pub arithmetic: &'a Arithmetic,
    /// Shapes of the values for an image of one stride.
    pub shapes: Vec<Feature>,
    pub nodes: Vec<NodeProto>,
    pub constants: Vec<TensorProto>,
}

impl Writer<'_> {
    /// Appends what computes the value of node `id`, and the constants it needs.
    pub fn write(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let output = &self.made(id);
        let inputs: Vec<String> = node.inputs.iter().map(|&input| self.read(input)).collect();
        let x = inputs.first().map_or("", String::as_str);
        match &node.op {
            Op::Input { .. } => self.features(),
            Op::InputImage { mean, std } => self.image(output, *mean, *std),
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
        self.restrict(id);
    }

    /// The name of the value that a node makes.
    pub fn made(&self, id: NodeId) -> String {
        value_name(self.graph, id, self.arithmetic)
    }

    pub(super) fn node(&mut self, op_type: &str, inputs: &[&str], output: &str, attributes: Vec<onnx::proto::AttributeProto>) {
        self.nodes.push(node(op_type, inputs, output, attributes));
    }

    /// A constant in the arithmetic of the inner layers.
    pub(super) fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.constants.push(match self.arithmetic {
            Arithmetic::F16 => halves(name, shape, values),
            Arithmetic::F32 | Arithmetic::Int8(_) => floats(name, shape, values),
        });
    }

    /// Writes the parameter `of.suffix` as it is; its name.
    fn parameter(&mut self, of: &str, suffix: &str) -> String {
        let name = format!("{of}.{suffix}");
        let weights = self.weights;
        let array = &weights[&name];
        self.constant(&name, &array.shape, &array.data);
        name
    }

    fn features(&mut self) {
        if matches!(self.arithmetic, Arithmetic::F16) {
            self.node("Cast", &[FEATURES], &format!("{FEATURES}.f16"), vec![int("to", FLOAT16.into())]);
        }
    }

    /// u8 `N H W 3` to `N 3 H W`: `(v - 255 mean) / (255 std)`, in f32. Cast comes first: transposing bytes is slow in ONNX Runtime.
    fn image(&mut self, output: &str, mean: [f32; 3], std: [f32; 3]) {
        let [cast, planes, centred, scaled] = ["f32", "planes", "centred", "scaled"].map(|suffix| format!("{INPUT}.{suffix}"));
        let [mean_name, scale_name] = ["mean", "scale"].map(|suffix| format!("{INPUT}.{suffix}"));
        let scale = std.map(|std| (1.0 / (255.0 * f64::from(std))) as f32);
        let is_scaled = scale.iter().any(|scale| (scale - 1.0).abs() > 1e-6);
        let is_half = matches!(self.arithmetic, Arithmetic::F16);
        let last = if is_half { &scaled } else { output };
        self.node("Cast", &[INPUT], &cast, vec![int("to", FLOAT.into())]);
        self.node("Transpose", &[&cast], &planes, vec![ints("perm", &[0, 3, 1, 2])]);
        self.constants.push(floats(&mean_name, &[1, 3, 1, 1], &mean.map(|mean| (255.0 * f64::from(mean)) as f32)));
        self.node("Sub", &[&planes, &mean_name], if is_scaled { &centred } else { last }, vec![]);
        if is_scaled {
            self.constants.push(floats(&scale_name, &[1, 3, 1, 1], &scale));
            self.node("Mul", &[&centred, &scale_name], last, vec![]);
        }
        if is_half {
            self.node("Cast", &[last], output, vec![int("to", FLOAT16.into())]);
        }
    }

    /// A convolution, of each channel by itself if the node is such.
    fn convolution(&mut self, id: NodeId, x: &str, name: &str) {
        let (kernel, stride, groups, bias) = match self.graph.node(id).op {
            Op::Conv(Conv { kernel, stride, bias, .. }) => (kernel, stride, 1, bias),
            Op::Depthwise(Depthwise { channels, stride, bias }) => (3, stride, channels, bias),
            _ => unreachable!("{name} is a convolution"),
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

    /// `min(max(x, 0), 6)`; the two ends are constants that all such nodes share.
    fn clip(&mut self, x: &str, output: &str) {
        const ENDS: [(&str, f32); 2] = [("clip.low", 0.0), ("clip.high", 6.0)];
        if self.constants.iter().all(|constant| constant.name != ENDS[0].0) {
            ENDS.iter().for_each(|(name, value)| self.constant(name, &[], &[*value]));
        }
        self.node("Clip", &[x, ENDS[0].0, ENDS[1].0], output, vec![]);
    }

    fn transposed(&mut self, conv: &UpConv, x: &str, name: &str) {
        let mut inputs = vec![x.to_owned(), self.parameter(name, "weight")];
        inputs.extend(conv.bias.then(|| self.parameter(name, "bias")));
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.node("ConvTranspose", &inputs, name, vec![ints("kernel_shape", &[4, 4]), ints("pads", &[1; 4]), ints("strides", &[2, 2])]);
    }

    /// The four parities of (row, column) as convolutions of two taps along each axis, then woven together.
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
        let together = format!("{name}.phases");
        self.node("Concat", &all, &together, vec![int("axis", 1)]);
        self.node("DepthToSpace", &[&together], name, vec![int("blocksize", 2), text("mode", "DCR")]);
    }

    fn upsample(&mut self, x: &str, output: &str) {
        const SCALES: &str = "upsample.scales";
        if self.constants.iter().all(|constant| constant.name != SCALES) {
            self.constants.push(floats(SCALES, &[4], &[1.0, 1.0, 2.0, 2.0]));
        }
        let nearest = vec![text("coordinate_transformation_mode", "asymmetric"), text("mode", "nearest"), text("nearest_mode", "floor")];
        self.node("Resize", &[x, "", SCALES], output, nearest);
    }

    /// `sigmoid(z1 - z0)`, or `sigmoid(z)` of a single channel, in f32; `N C H W` to `N H W`.
    fn probability(&mut self, x: &str, channels: usize, output: &str) {
        let part = |suffix: &str| format!("{output}.{suffix}");
        let [axis, z0, z1, difference, map, exact] = ["axis", "z0", "z1", "difference", "map", "logit"].map(part);
        self.constants.push(integers(&axis, &[1]));
        let mut logit = x;
        if matches!(self.arithmetic, Arithmetic::F16) {
            self.node("Cast", &[x], &exact, vec![int("to", FLOAT.into())]);
            logit = &exact;
        }
        if channels != 1 {
            assert_eq!(channels, 2, "{output}: probability of {channels} channels");
            for (z, start) in [(&z0, 0), (&z1, 1)] {
                let (from, to) = (format!("{z}.from"), format!("{z}.to"));
                self.constants.push(integers(&from, &[start]));
                self.constants.push(integers(&to, &[start + 1]));
                self.node("Slice", &[logit, &from, &to, &axis], z, vec![]);
            }
            self.node("Sub", &[&z1, &z0], &difference, vec![]);
            logit = &difference;
        }
        self.node("Sigmoid", &[logit], &map, vec![]);
        self.node("Squeeze", &[&map, &axis], output, vec![]);
    }

    /// `round(255 p)`, ties to even, as `Round` is defined.
    fn quantise(&mut self, x: &str, output: &str) {
        let part = |suffix: &str| format!("{output}.{suffix}");
        let [levels, scaled, rounded] = ["levels", "scaled", "rounded"].map(part);
        self.constants.push(floats(&levels, &[], &[255.0]));
        self.node("Mul", &[x, &levels], &scaled, vec![]);
        self.node("Round", &[&scaled], &rounded, vec![]);
        self.node("Cast", &[&rounded], output, vec![int("to", UINT8.into())]);
    }
}

/// The name of the value that a node makes.
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

/// The taps (`out in 2 2`) of a kernel `in out 4 4` that outputs with the parities `row` and `column` meet.
fn phase_kernel(kernel: &[f32], conv: &UpConv, row: usize, column: usize) -> Vec<f32> {
    const TAPS: [[usize; 2]; 2] = [[3, 1], [2, 0]];
    let pairs = (0..conv.outputs).flat_map(|o| (0..conv.inputs).map(move |c| (o, c)));
    let at = |o: usize, c: usize, i: usize, j: usize| kernel[((c * conv.outputs + o) * 4 + i) * 4 + j];
    pairs.flat_map(|(o, c)| TAPS[row].into_iter().flat_map(move |i| TAPS[column].map(|j| at(o, c, i, j)))).collect()
}

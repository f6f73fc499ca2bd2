//! Shapes, parameters and multiply-accumulate operations of a graph.

use super::{Graph, Node, Op};
use support::{Result, bail};

/// Shape of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Number of channels.
    pub channels: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

/// Role of a parameter. The optimiser updates learned parameters; batch normalisation updates its running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Learned: convolution weight.
    Weight,
    /// Learned: convolution bias.
    Bias,
    /// Learned: scale of a batch normalisation.
    Scale,
    /// Learned: shift of a batch normalisation.
    Shift,
    /// Running statistic: mean.
    RunningMean,
    /// Running statistic: variance.
    RunningVar,
}

impl Role {
    /// Reports whether the optimiser updates the parameter.
    pub fn is_learned(self) -> bool {
        matches!(self, Role::Weight | Role::Bias | Role::Scale | Role::Shift)
    }
}

/// Name, shape and role of an array that a graph needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Full name in a checkpoint.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Role in training.
    pub role: Role,
}

impl Parameter {
    /// Returns the number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Graph {
    /// Lists all parameters in the order of the nodes.
    pub fn parameters(&self) -> Vec<Parameter> {
        let named = |node: &Node, (suffix, shape, role)| Parameter { name: format!("{}.{suffix}", node.name), shape, role };
        self.nodes.iter().flat_map(|node| arrays(&node.op).into_iter().map(|array| named(node, array))).collect()
    }

    /// Computes the shape of every node's value for an input of `height` x `width` pixels.
    ///
    /// # Errors
    /// Extents that are not multiples of [`Graph::stride`], or inputs of a sum or concatenation whose shapes do not fit.
    pub fn shapes(&self, height: usize, width: usize) -> Result<Vec<Feature>> {
        let stride = self.stride();
        if height == 0 || width == 0 || !height.is_multiple_of(stride) || !width.is_multiple_of(stride) {
            bail!("the network takes heights and widths that are multiples of {stride}, found {height} x {width}");
        }
        let mut shapes: Vec<Feature> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let of = |i: usize| shapes[node.inputs[i].0];
            let shape = match &node.op {
                Op::Input { channels } => Feature { channels: *channels, height, width },
                Op::InputImage { .. } => Feature { channels: 3, height, width },
                Op::Conv(conv) => {
                    Feature { channels: conv.outputs, height: of(0).height.div_ceil(conv.stride), width: of(0).width.div_ceil(conv.stride) }
                }
                Op::Depthwise(conv) => {
                    Feature { height: of(0).height.div_ceil(conv.stride), width: of(0).width.div_ceil(conv.stride), ..of(0) }
                }
                Op::BatchNorm { .. } | Op::Relu | Op::Relu6 | Op::Quantise => of(0),
                Op::Add if of(0) == of(1) => of(0),
                Op::Add => bail!("{}: sum of {:?} and {:?}", node.name, of(0), of(1)),
                Op::MaxPool => Feature { height: of(0).height.div_ceil(2), width: of(0).width.div_ceil(2), ..of(0) },
                Op::UpConv(conv) => Feature { channels: conv.outputs, height: 2 * of(0).height, width: 2 * of(0).width },
                Op::Upsample => Feature { height: 2 * of(0).height, width: 2 * of(0).width, ..of(0) },
                Op::Concat if (of(0).height, of(0).width) == (of(1).height, of(1).width) => {
                    Feature { channels: of(0).channels + of(1).channels, ..of(0) }
                }
                Op::Concat => bail!("{}: concatenation of {:?} and {:?}", node.name, of(0), of(1)),
                Op::Probability => Feature { channels: 1, ..of(0) },
            };
            shapes.push(shape);
        }
        Ok(shapes)
    }

    /// Counts the multiply-accumulate operations of all convolutions for one image of `height` x `width` pixels.
    ///
    /// # Errors
    /// Those of [`Graph::shapes`].
    pub fn macs(&self, height: usize, width: usize) -> Result<u64> {
        let shapes = self.shapes(height, width)?;
        let each = self.nodes.iter().zip(&shapes).map(|(node, shape)| match &node.op {
            Op::Conv(conv) => (shape.height * shape.width * conv.outputs * conv.inputs * conv.kernel * conv.kernel) as u64,
            Op::Depthwise(conv) => (shape.height * shape.width * conv.channels * 9) as u64,
            Op::UpConv(conv) => (shape.height * shape.width * conv.outputs * conv.inputs * 4) as u64,
            Op::Input { .. }
            | Op::InputImage { .. }
            | Op::BatchNorm { .. }
            | Op::Relu
            | Op::Relu6
            | Op::Add
            | Op::MaxPool
            | Op::Upsample
            | Op::Concat
            | Op::Probability
            | Op::Quantise => 0,
        });
        Ok(each.sum())
    }
}

/// Lists the arrays of an operation: suffix of the name, shape and role.
fn arrays(op: &Op) -> Vec<(&'static str, Vec<usize>, Role)> {
    let (weight, bias) = match op {
        Op::Conv(conv) => (vec![conv.outputs, conv.inputs, conv.kernel, conv.kernel], conv.bias.then_some(conv.outputs)),
        Op::Depthwise(conv) => (vec![conv.channels, 1, 3, 3], conv.bias.then_some(conv.channels)),
        Op::UpConv(conv) => (vec![conv.inputs, conv.outputs, 4, 4], conv.bias.then_some(conv.outputs)),
        Op::BatchNorm { channels, .. } => {
            let roles =
                [("weight", Role::Scale), ("bias", Role::Shift), ("running_mean", Role::RunningMean), ("running_var", Role::RunningVar)];
            return roles.map(|(suffix, role)| (suffix, vec![*channels], role)).to_vec();
        }
        Op::Input { .. }
        | Op::InputImage { .. }
        | Op::Relu
        | Op::Relu6
        | Op::Add
        | Op::MaxPool
        | Op::Upsample
        | Op::Concat
        | Op::Probability
        | Op::Quantise => return Vec::new(),
    };
    let bias = bias.map(|channels| ("bias", vec![channels], Role::Bias));
    std::iter::once(("weight", weight, Role::Weight)).chain(bias).collect()
}

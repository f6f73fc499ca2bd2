//! Translation of operations without weights, and of batch normalisation.

use support::{Result, bail};

use super::{Phase, Reader, Value};
use crate::attributes::{Attributes, f32_constant};
use crate::net::Op;
use onnx::proto::NodeProto;

impl Reader<'_> {
    /// Translates an operation whose operands have equal channels.
    pub(super) fn unweighted(&mut self, node: &NodeProto, op: Op) -> Result<Value> {
        let inputs = (0..node.input.len()).map(|input| self.feature_map(node, input)).collect::<Result<Vec<_>>>()?;
        let expected = if op == Op::Add { 2 } else { 1 };
        let channels = inputs.first().map_or(0, |&first| self.nodes[first].channels);
        if inputs.len() != expected || inputs.iter().any(|&input| self.nodes[input].channels != channels) {
            bail!("expected {expected} feature maps of one shape, found {}", inputs.len());
        }
        Ok(self.named(node, op, inputs, channels))
    }

    pub(super) fn clip(&mut self, node: &NodeProto) -> Result<Value> {
        let id = self.feature_map(node, 0)?;
        let limits = [1, 2].map(|input| self.tensor(node, input).and_then(f32_constant));
        let [low, high] = limits;
        if node.input.len() != 3 || low?.values != [0.0] || high?.values != [6.0] {
            bail!("expected the limits 0 and 6");
        }
        let channels = self.nodes[id].channels;
        Ok(self.named(node, Op::Relu6, vec![id], channels))
    }

    /// Translates a concatenation of feature maps, or of the four phases of one convolution.
    pub(super) fn concat(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        if attributes.int("axis", 0)? != 1 {
            bail!("concatenation along another axis than channels has no kernel here");
        }
        let phases: Vec<Phase> = (0..node.input.len())
            .filter_map(|input| if let Ok(Value::Phase(phase)) = self.value(node, input) { Some(phase.clone()) } else { None })
            .collect();
        if phases.len() == 4 && node.input.len() == 4 {
            return Ok(Value::Phases(phases));
        }
        let inputs = (0..node.input.len()).map(|input| self.feature_map(node, input)).collect::<Result<Vec<_>>>()?;
        if inputs.is_empty() {
            bail!("it has no inputs");
        }
        let channels = inputs.iter().map(|&input| self.nodes[input].channels).sum();
        Ok(self.named(node, Op::Concat, inputs, channels))
    }

    pub(super) fn max_pool(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        let window = ["kernel_shape", "pads", "strides"].map(|name| attributes.ints(name));
        let [kernel, pads, strides] = window;
        if (kernel?, pads?, strides?) != (&[3, 3], &[1; 4], &[2, 2]) {
            bail!("expected windows of 3x3, stride 2, padding 1");
        }
        self.unweighted(node, Op::MaxPool)
    }

    pub(super) fn upsample(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        attributes.expect_string("coordinate_transformation_mode", "asymmetric")?;
        attributes.expect_string("mode", "nearest")?;
        attributes.expect_string("nearest_mode", "floor")?;
        if node.input.len() != 3 || !node.input[1].is_empty() || f32_constant(self.tensor(node, 2)?)?.values != [1.0, 1.0, 2.0, 2.0] {
            bail!("expected upsampling by 2");
        }
        let id = self.feature_map(node, 0)?;
        let channels = self.nodes[id].channels;
        Ok(self.named(node, Op::Upsample, vec![id], channels))
    }

    /// Translates batch normalisation in inference mode to gain and offset of each channel; in f64, rounded once.
    pub(super) fn batch_norm(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        let eps = f64::from(attributes.float("epsilon", 1e-5)?);
        let id = self.feature_map(node, 0)?;
        let channels = self.nodes[id].channels;
        let [scale, shift, mean, var] = [1, 2, 3, 4].map(|input| self.vector(node, input, channels));
        let (scale, shift, mean, var) = (scale?, shift?, mean?, var?);
        let factor = |c: usize| f64::from(scale[c]) / (f64::from(var[c]) + eps).sqrt();
        let gain = (0..channels).map(|c| factor(c) as f32).collect();
        let offset = (0..channels).map(|c| (f64::from(shift[c]) - f64::from(mean[c]) * factor(c)) as f32).collect();
        Ok(self.named(node, Op::Affine { gain, offset }, vec![id], channels))
    }
}

//! Translation of convolutions: plain, depthwise, transposed, and as phases of an upsampled feature map.

use support::{Result, bail};

use super::{Phase, Reader, Value};
use crate::attributes::{Attributes, f32_constant};
use crate::net::{Conv, Depthwise, Op};
use crate::upsampled_conv;
use onnx::proto::NodeProto;

impl Reader<'_> {
    /// Translates a square convolution with odd kernel, or one phase of a convolution of an upsampled feature map.
    pub(super) fn conv(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        let id = self.feature_map(node, 0)?;
        let kernel = f32_constant(self.tensor(node, 1)?)?;
        let &[outputs, inputs, kernel_side, kernel_width] = kernel.shape.as_slice() else {
            bail!("its weights have the unsupported shape {:?}", kernel.shape)
        };
        let (sides, pads, strides) = (attributes.ints("kernel_shape")?, attributes.ints("pads")?, attributes.ints("strides")?);
        let (groups, channels) = (attributes.int("group", 1)?, self.nodes[id].channels);
        let is_depthwise = groups == channels as i64 && groups > 1 && kernel.shape == [channels, 1, 3, 3];
        let is_dense = groups == 1 && inputs == channels;
        if kernel.values.is_empty() || kernel_side != kernel_width || sides != [kernel_side as i64; 2] || !(is_dense || is_depthwise) {
            bail!("a kernel of {:?} on {channels} channels in {groups} groups has no kernel here", kernel.shape);
        }
        let bias = self.vector(node, 2, outputs)?;
        if kernel_side == 2 && strides == [1; 2] {
            return Ok(Value::Phase(Phase { x: id, kernel, bias, pads: pads.to_vec() }));
        }
        if kernel_side % 2 == 0 || pads != [kernel_side as i64 / 2; 4] || (strides != [1; 2] && strides != [2; 2]) {
            bail!("a kernel of {kernel_side} with the strides {strides:?} and the padding {pads:?} has no kernel here");
        }
        let stride = strides[0] as usize;
        if is_depthwise {
            return Ok(self.named(node, Op::Depthwise(Depthwise { stride, weight: kernel.values, bias }), vec![id], outputs));
        }
        let conv = Conv { outputs, kernel: kernel_side, stride, weight: kernel.values, bias };
        Ok(self.named(node, Op::Conv(conv), vec![id], outputs))
    }

    /// Translates a 4x4 transposed convolution with stride 2 to a 3x3 convolution of an upsampled feature map.
    pub(super) fn conv_transpose(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        let id = self.feature_map(node, 0)?;
        let kernel = f32_constant(self.tensor(node, 1)?)?;
        let (sides, pads, strides) = (attributes.ints("kernel_shape")?, attributes.ints("pads")?, attributes.ints("strides")?);
        let &[inputs, outputs, 4, 4] = kernel.shape.as_slice() else { bail!("its weights have the unsupported shape {:?}", kernel.shape) };
        if kernel.values.is_empty() || (sides, pads, strides) != (&[4, 4], &[1; 4], &[2, 2]) || inputs != self.nodes[id].channels {
            bail!("it is not the convolution of an upsampled feature map");
        }
        let weight = upsampled_conv::from_transposed(&kernel.values, inputs, outputs)?;
        let bias = self.vector(node, 2, outputs)?;
        Ok(self.push_upsampled_conv(node, id, weight, bias))
    }

    /// Translates the interleaving of four phases to a 3x3 convolution of an upsampled feature map.
    pub(super) fn depth_to_space(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        attributes.expect_string("mode", "DCR")?;
        let block_size = attributes.int("blocksize", 0)?;
        let phases = match self.value(node, 0)? {
            Value::Phases(phases) if block_size == 2 => phases.clone(),
            _ => bail!("its inputs are not the phases of a convolution of an upsampled feature map"),
        };
        let first = &phases[0];
        let (&[outputs, inputs, ..], x) = (first.kernel.shape.as_slice(), first.x) else { bail!("its kernels have no channels") };
        for (i, phase) in phases.iter().enumerate() {
            let (row, column) = (i as i64 / 2, i as i64 % 2);
            let same = (phase.x, &phase.bias, &phase.kernel.shape) == (x, &first.bias, &first.kernel.shape);
            if !same || phase.pads != [1 - row, 1 - column, row, column] {
                bail!("its phases are not those of an upsampled feature map");
            }
        }
        let weight = upsampled_conv::from_phases([0, 1, 2, 3].map(|i| phases[i].kernel.values.as_slice()), inputs, outputs)?;
        let bias = first.bias.clone();
        Ok(self.push_upsampled_conv(node, x, weight, bias))
    }

    /// Adds an upsampling of node `x` and its 3x3 convolution to the net.
    fn push_upsampled_conv(&mut self, node: &NodeProto, x: usize, weight: Vec<f32>, bias: Vec<f32>) -> Value {
        let (channels, outputs) = (self.nodes[x].channels, bias.len());
        let upsampled = self.push(format!("{}.upsampled", node.output[0]), Op::Upsample, vec![x], channels);
        self.named(node, Op::Conv(Conv { outputs, kernel: 3, stride: 1, weight, bias }), vec![upsampled], outputs)
    }
}

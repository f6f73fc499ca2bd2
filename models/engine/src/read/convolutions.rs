//! Convolutions, in all forms in which they are written.

use support::{Result, bail};

use super::{Phase, Reader, Value};
use crate::attributes::{Attributes, floats};
use crate::net::{Conv, Depthwise, Op};
use crate::up;
use onnx::proto::NodeProto;

impl Reader<'_> {
    pub(super) fn conv(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        let id = self.map(node, 0)?;
        let kernel = floats(self.tensor(node, 1)?)?;
        let &[outputs, inputs, side, across] = kernel.shape.as_slice() else { bail!("its weight has the shape {:?}", kernel.shape) };
        let (sides, pads, strides) = (attributes.ints("kernel_shape")?, attributes.ints("pads")?, attributes.ints("strides")?);
        let (groups, channels) = (attributes.int("group", 1)?, self.nodes[id].channels);
        let is_depthwise = groups == channels as i64 && groups > 1 && kernel.shape == [channels, 1, 3, 3];
        let is_whole = groups == 1 && inputs == channels;
        if kernel.values.is_empty() || side != across || sides != [side as i64; 2] || !(is_whole || is_depthwise) {
            bail!("a kernel of {:?} on {channels} channels in {groups} groups has no kernel here", kernel.shape);
        }
        let bias = self.vector(node, 2, outputs)?;
        if side == 2 && strides == [1; 2] {
            return Ok(Value::Phase(Phase { x: id, kernel, bias, pads: pads.to_vec() }));
        }
        if side % 2 == 0 || pads != [side as i64 / 2; 4] || (strides != [1; 2] && strides != [2; 2]) {
            bail!("a kernel of {side} with the strides {strides:?} and the padding {pads:?} has no kernel here");
        }
        let stride = strides[0] as usize;
        if is_depthwise {
            return Ok(self.named(node, Op::Depthwise(Depthwise { stride, weight: kernel.values, bias }), vec![id], outputs));
        }
        let conv = Conv { outputs, kernel: side, stride, weight: kernel.values, bias };
        Ok(self.named(node, Op::Conv(conv), vec![id], outputs))
    }

    pub(super) fn conv_transpose(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        let id = self.map(node, 0)?;
        let kernel = floats(self.tensor(node, 1)?)?;
        let (sides, pads, strides) = (attributes.ints("kernel_shape")?, attributes.ints("pads")?, attributes.ints("strides")?);
        let &[inputs, outputs, 4, 4] = kernel.shape.as_slice() else { bail!("its weight has the shape {:?}", kernel.shape) };
        if kernel.values.is_empty() || (sides, pads, strides) != (&[4, 4], &[1; 4], &[2, 2]) || inputs != self.nodes[id].channels {
            bail!("it is not the convolution of an enlarged map");
        }
        let weight = up::from_transposed(&kernel.values, inputs, outputs)?;
        let bias = self.vector(node, 2, outputs)?;
        Ok(self.enlarged(node, id, weight, bias))
    }

    pub(super) fn weave(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        attributes.expect_text("mode", "DCR")?;
        let blocks = attributes.int("blocksize", 0)?;
        let phases = match self.value(node, 0)? {
            Value::Phases(phases) if blocks == 2 => phases.clone(),
            _ => bail!("it does not weave the phases of an enlarged map"),
        };
        let first = &phases[0];
        let (&[outputs, inputs, ..], x) = (first.kernel.shape.as_slice(), first.x) else { bail!("its kernels have no channels") };
        for (i, phase) in phases.iter().enumerate() {
            let (row, column) = (i as i64 / 2, i as i64 % 2);
            let same = (phase.x, &phase.bias, &phase.kernel.shape) == (x, &first.bias, &first.kernel.shape);
            if !same || phase.pads != [1 - row, 1 - column, row, column] {
                bail!("its phases are not those of an enlarged map");
            }
        }
        let weight = up::from_phases([0, 1, 2, 3].map(|i| phases[i].kernel.values.as_slice()), inputs, outputs)?;
        let bias = first.bias.clone();
        Ok(self.enlarged(node, x, weight, bias))
    }

    /// A 3x3 convolution of the map `x` enlarged.
    fn enlarged(&mut self, node: &NodeProto, x: usize, weight: Vec<f32>, bias: Vec<f32>) -> Value {
        let (channels, outputs) = (self.nodes[x].channels, bias.len());
        let large = self.push(format!("{}.enlarged", node.output[0]), Op::Upsample, vec![x], channels);
        self.named(node, Op::Conv(Conv { outputs, kernel: 3, stride: 1, weight, bias }), vec![large], outputs)
    }
}

//! Translation of the normalisation of the image, and of the conversion of the logit to probabilities and bytes.

use support::{Result, bail};

use super::{ImageForm, OutputForm, Reader, Value};
use crate::attributes::{Attributes, f32_constant, i64_list};
use crate::net::Op;
use onnx::proto::{FLOAT, NodeProto, UINT8};

impl Reader<'_> {
    pub(super) fn cast(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        let to = attributes.int("to", 0)?;
        match self.value(node, 0)? {
            Value::Image(ImageForm::Bytes) if to == i64::from(FLOAT) => Ok(Value::Image(ImageForm::Floats)),
            Value::OutputForm(OutputForm::Rounded) if to == i64::from(UINT8) => Ok(Value::OutputForm(OutputForm::Bytes)),
            _ => bail!("arithmetic other than f32 has no kernel here"),
        }
    }

    pub(super) fn transpose(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        match (self.value(node, 0)?, attributes.ints("perm")?) {
            (Value::Image(ImageForm::Floats), [0, 3, 1, 2]) => Ok(Value::Image(ImageForm::Planes)),
            _ => bail!("only the image is transposed from `B H W C` to `B C H W`"),
        }
    }

    /// Translates the subtraction of the image's mean, or of the logit of class 0 from the logit of class 1.
    pub(super) fn sub(&mut self, node: &NodeProto) -> Result<Value> {
        match (self.value(node, 0)?.clone(), self.value(node, 1).ok()) {
            (Value::Image(ImageForm::Planes), None) => Ok(Value::Centred(self.channel_constant(node)?)),
            (Value::Channel(x, 1), Some(Value::Channel(y, 0))) if x == *y && self.nodes[x].channels == 2 => {
                Ok(self.named(node, Op::Difference, vec![x], 1))
            }
            _ => bail!("it is neither the image minus its mean nor one logit minus the other"),
        }
    }

    /// Translates the scaling of the image, or of probabilities to 0..=255.
    pub(super) fn mul(&mut self, node: &NodeProto) -> Result<Value> {
        match *self.value(node, 0)? {
            Value::Centred(mean) => {
                let scale = self.channel_constant(node)?;
                Ok(self.named(node, Op::Image { mean, scale }, Vec::new(), 3))
            }
            Value::OutputForm(OutputForm::Probability) if f32_constant(self.tensor(node, 1)?)?.values == [255.0] => {
                Ok(Value::OutputForm(OutputForm::Levels))
            }
            _ => bail!("it scales neither the image nor the probability"),
        }
    }

    /// Translates the selection of one channel.
    pub(super) fn slice(&mut self, node: &NodeProto) -> Result<Value> {
        let id = self.feature_map(node, 0)?;
        let [from, to, axes] = [1, 2, 3].map(|input| self.tensor(node, input).and_then(i64_list));
        match (from?.as_slice(), to?.as_slice(), axes?.as_slice()) {
            ([from], [to], [1]) if *to == from + 1 && node.input.len() == 4 => Ok(Value::Channel(id, *from)),
            _ => bail!("it does not select one channel"),
        }
    }

    /// Marks the operand as the logit of the network.
    pub(super) fn sigmoid(&mut self, node: &NodeProto) -> Result<Value> {
        let id = self.feature_map(node, 0)?;
        if self.nodes[id].channels != 1 || self.logit.replace(id).is_some() {
            bail!("it is not the sigmoid of the one logit");
        }
        Ok(Value::OutputForm(OutputForm::Sigmoid))
    }

    /// Translates a node that converts the form `from` of the probability to the form `to`.
    pub(super) fn output(&mut self, node: &NodeProto, from: OutputForm, to: OutputForm, axes: Option<[i64; 1]>) -> Result<Value> {
        let has_axes = axes.map_or(Ok(true), |axes| Ok::<_, support::Error>(i64_list(self.tensor(node, 1)?)? == axes))?;
        match self.value(node, 0)? {
            Value::OutputForm(found) if *found == from && has_axes => Ok(Value::OutputForm(to)),
            _ => bail!("it is not part of the conversion of a logit to bytes"),
        }
    }
}

//! The image, and what follows the logit.

use support::{Result, bail};

use super::{Reader, Stage, Tail, Value};
use crate::attributes::{Attributes, floats, integers};
use crate::net::Op;
use onnx::proto::{FLOAT, NodeProto, UINT8};

impl Reader<'_> {
    pub(super) fn cast(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        let to = attributes.int("to", 0)?;
        match self.value(node, 0)? {
            Value::Image(Stage::Bytes) if to == i64::from(FLOAT) => Ok(Value::Image(Stage::Floats)),
            Value::Tail(Tail::Rounded) if to == i64::from(UINT8) => Ok(Value::Tail(Tail::Bytes)),
            _ => bail!("arithmetic other than f32 has no kernel here"),
        }
    }

    pub(super) fn transpose(&mut self, node: &NodeProto, attributes: &mut Attributes) -> Result<Value> {
        match (self.value(node, 0)?, attributes.ints("perm")?) {
            (Value::Image(Stage::Floats), [0, 3, 1, 2]) => Ok(Value::Image(Stage::Planes)),
            _ => bail!("only an image is brought from rows to planes"),
        }
    }

    pub(super) fn sub(&mut self, node: &NodeProto) -> Result<Value> {
        match (self.value(node, 0)?.clone(), self.value(node, 1).ok()) {
            (Value::Image(Stage::Planes), None) => Ok(Value::Centred(self.of_planes(node)?)),
            (Value::Channel(x, 1), Some(Value::Channel(y, 0))) if x == *y && self.nodes[x].channels == 2 => {
                Ok(self.named(node, Op::Difference, vec![x], 1))
            }
            _ => bail!("it is neither the image minus its mean nor one logit minus the other"),
        }
    }

    pub(super) fn mul(&mut self, node: &NodeProto) -> Result<Value> {
        match *self.value(node, 0)? {
            Value::Centred(mean) => {
                let scale = self.of_planes(node)?;
                Ok(self.named(node, Op::Image { mean, scale }, Vec::new(), 3))
            }
            Value::Tail(Tail::Probability) if floats(self.tensor(node, 1)?)?.values == [255.0] => Ok(Value::Tail(Tail::Levels)),
            _ => bail!("it scales neither the image nor the probability"),
        }
    }

    pub(super) fn slice(&mut self, node: &NodeProto) -> Result<Value> {
        let id = self.map(node, 0)?;
        let [from, to, axes] = [1, 2, 3].map(|input| self.tensor(node, input).and_then(integers));
        match (from?.as_slice(), to?.as_slice(), axes?.as_slice()) {
            ([from], [to], [1]) if *to == from + 1 && node.input.len() == 4 => Ok(Value::Channel(id, *from)),
            _ => bail!("it is not one channel"),
        }
    }

    pub(super) fn sigmoid(&mut self, node: &NodeProto) -> Result<Value> {
        let id = self.map(node, 0)?;
        if self.nodes[id].channels != 1 || self.logit.replace(id).is_some() {
            bail!("it is not the sigmoid of the one logit");
        }
        Ok(Value::Tail(Tail::Sigmoid))
    }

    pub(super) fn tail(&mut self, node: &NodeProto, from: Tail, to: Tail, axes: Option<[i64; 1]>) -> Result<Value> {
        let has_axes = axes.map_or(Ok(true), |axes| Ok::<_, support::Error>(integers(self.tensor(node, 1)?)? == axes))?;
        match self.value(node, 0)? {
            Value::Tail(found) if *found == from && has_axes => Ok(Value::Tail(to)),
            _ => bail!("it does not stand between a logit and its bytes"),
        }
    }
}

//! Constants of an ONNX node: every one must be understood, or the node is not.

use support::{Result, bail};

use onnx::proto::{FLOAT, INT64, NodeProto, TensorProto, attribute_type};

/// The attributes of a node that have not been asked for yet.
pub struct Attributes<'a> {
    node: &'a NodeProto,
    open: Vec<&'a str>,
}

impl<'a> Attributes<'a> {
    pub fn of(node: &'a NodeProto) -> Self {
        Self { node, open: node.attribute.iter().map(|attribute| attribute.name.as_str()).collect() }
    }

    fn take(&mut self, name: &str) -> Option<&'a onnx::proto::AttributeProto> {
        self.open.retain(|open| *open != name);
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    /// A list of integers; it must be there.
    pub fn ints(&mut self, name: &str) -> Result<&'a [i64]> {
        match self.take(name) {
            Some(attribute) if attribute.r#type == attribute_type::INTS => Ok(&attribute.ints),
            _ => bail!("the attribute {name} is missing or no list of integers"),
        }
    }

    /// An integer, or what the operator takes where it is not there.
    pub fn int(&mut self, name: &str, default: i64) -> Result<i64> {
        match self.take(name) {
            None => Ok(default),
            Some(attribute) => match attribute.i {
                Some(value) => Ok(value),
                None => bail!("the attribute {name} is no integer"),
            },
        }
    }

    /// A float, or what the operator takes where it is not there.
    pub fn float(&mut self, name: &str, default: f32) -> Result<f32> {
        match self.take(name) {
            None => Ok(default),
            Some(attribute) => match attribute.f {
                Some(value) => Ok(value),
                None => bail!("the attribute {name} is no float"),
            },
        }
    }

    /// Fails unless a text attribute says just this.
    pub fn expect_text(&mut self, name: &str, expected: &str) -> Result<()> {
        let found = self.take(name).and_then(|attribute| attribute.s.as_deref()).map(String::from_utf8_lossy);
        match found {
            Some(found) if found == expected => Ok(()),
            found => bail!("expected {name} = {expected}, found {found:?}"),
        }
    }

    /// Fails if there are others than those that were asked for.
    pub fn end(self) -> Result<()> {
        match self.open.first() {
            Some(name) => bail!("the attribute {name} is not known here"),
            None => Ok(()),
        }
    }
}

/// A constant's extents and values.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// An f32 tensor; an error for other types and for one whose bytes are not those of its shape.
pub fn floats(tensor: &TensorProto) -> Result<Constant> {
    if tensor.data_type != FLOAT {
        bail!("{} is not in f32", tensor.name);
    }
    let shape: Vec<usize> = tensor.dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(usize::MAX)).collect();
    let count = shape.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
    if count.and_then(|count| count.checked_mul(4)) != Some(tensor.raw_data.len()) {
        bail!("{} has {} bytes, which is not its shape {shape:?}", tensor.name, tensor.raw_data.len());
    }
    let (quads, _) = tensor.raw_data.as_chunks::<4>();
    Ok(Constant { shape, values: quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect() })
}

/// A list of integers.
pub fn integers(tensor: &TensorProto) -> Result<Vec<i64>> {
    let (eights, rest) = tensor.raw_data.as_chunks::<8>();
    if tensor.data_type != INT64 || !rest.is_empty() {
        bail!("{} is no list of 64-bit integers", tensor.name);
    }
    Ok(eights.iter().map(|eight| i64::from_le_bytes(*eight)).collect())
}

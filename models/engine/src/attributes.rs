//! Attributes and constants of an ONNX node. An attribute that the reader does not ask for is an error.

use support::{Result, bail};

use onnx::proto::{FLOAT, INT64, NodeProto, TensorProto, attribute_type};

/// Attributes of a node, with the names that have not been read yet.
pub struct Attributes<'a> {
    node: &'a NodeProto,
    unread: Vec<&'a str>,
}

impl<'a> Attributes<'a> {
    pub fn new(node: &'a NodeProto) -> Self {
        Self { node, unread: node.attribute.iter().map(|attribute| attribute.name.as_str()).collect() }
    }

    fn take(&mut self, name: &str) -> Option<&'a onnx::proto::AttributeProto> {
        self.unread.retain(|unread| *unread != name);
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    /// Returns a required list of integers.
    pub fn ints(&mut self, name: &str) -> Result<&'a [i64]> {
        match self.take(name) {
            Some(attribute) if attribute.r#type == attribute_type::INTS => Ok(&attribute.ints),
            _ => bail!("the attribute {name} is missing or not a list of integers"),
        }
    }

    /// Returns an integer, or the default of the operator if the attribute is absent.
    pub fn int(&mut self, name: &str, default: i64) -> Result<i64> {
        match self.take(name) {
            None => Ok(default),
            Some(attribute) => match attribute.i {
                Some(value) => Ok(value),
                None => bail!("the attribute {name} is not an integer"),
            },
        }
    }

    /// Returns a float, or the default of the operator if the attribute is absent.
    pub fn float(&mut self, name: &str, default: f32) -> Result<f32> {
        match self.take(name) {
            None => Ok(default),
            Some(attribute) => match attribute.f {
                Some(value) => Ok(value),
                None => bail!("the attribute {name} is not a float"),
            },
        }
    }

    /// Checks that a string attribute has the expected value.
    pub fn expect_string(&mut self, name: &str, expected: &str) -> Result<()> {
        let found = self.take(name).and_then(|attribute| attribute.s.as_deref()).map(String::from_utf8_lossy);
        match found {
            Some(found) if found == expected => Ok(()),
            found => bail!("expected {name} = {expected}, found {found:?}"),
        }
    }

    /// Checks that every attribute has been read.
    pub fn finish(self) -> Result<()> {
        match self.unread.first() {
            Some(name) => bail!("the attribute {name} is not supported"),
            None => Ok(()),
        }
    }
}

/// Constant tensor of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Returns an f32 tensor.
///
/// # Errors
/// Another data type, or a number of bytes that disagrees with the shape.
pub fn f32_constant(tensor: &TensorProto) -> Result<Constant> {
    if tensor.data_type != FLOAT {
        bail!("{} is not in f32", tensor.name);
    }
    let shape: Vec<usize> = tensor.dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(usize::MAX)).collect();
    let count = shape.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
    if count.and_then(|count| count.checked_mul(4)) != Some(tensor.raw_data.len()) {
        bail!("{} has {} bytes, which disagrees with its shape {shape:?}", tensor.name, tensor.raw_data.len());
    }
    let (quads, _) = tensor.raw_data.as_chunks::<4>();
    Ok(Constant { shape, values: quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect() })
}

/// Returns a list of 64-bit integers.
pub fn i64_list(tensor: &TensorProto) -> Result<Vec<i64>> {
    let (eights, rest) = tensor.raw_data.as_chunks::<8>();
    if tensor.data_type != INT64 || !rest.is_empty() {
        bail!("{} is not a list of 64-bit integers", tensor.name);
    }
    Ok(eights.iter().map(|eight| i64::from_le_bytes(*eight)).collect())
}

//! Tensors, attributes and nodes of an ONNX file, from Rust values.

use crate::proto::{AttributeProto, FLOAT, FLOAT16, INT8, INT32, INT64, NodeProto, TensorProto, UINT8, attribute_type};
use half::f16;

/// An f32 tensor.
pub fn floats(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    tensor(name, shape, FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// An f16 tensor, rounded to the nearest.
pub fn halves(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    tensor(name, shape, FLOAT16, values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect())
}

/// An i8 tensor.
pub fn bytes(name: &str, shape: &[usize], values: &[i8]) -> TensorProto {
    tensor(name, shape, INT8, values.iter().map(|v| v.to_le_bytes()[0]).collect())
}

/// A u8 number.
pub fn byte(name: &str, value: u8) -> TensorProto {
    tensor(name, &[], UINT8, vec![value])
}

/// An i32 tensor of one axis.
pub fn words(name: &str, values: &[i32]) -> TensorProto {
    tensor(name, &[values.len()], INT32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// An i64 tensor of one axis.
pub fn integers(name: &str, values: &[i64]) -> TensorProto {
    tensor(name, &[values.len()], INT64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn tensor(name: &str, shape: &[usize], data_type: i32, raw_data: Vec<u8>) -> TensorProto {
    let dims = shape.iter().map(|&extent| extent as i64).collect();
    TensorProto { dims, data_type, name: name.to_owned(), raw_data, ..TensorProto::default() }
}

/// A node that makes one value, named after it.
pub fn node(op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: output.to_owned(),
        op_type: op_type.to_owned(),
        attribute,
        domain: String::new(),
    }
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i: Some(value), r#type: attribute_type::INT, ..AttributeProto::default() }
}

/// An attribute that is a list of integers.
pub fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { name: name.to_owned(), ints, r#type: attribute_type::INTS, ..AttributeProto::default() }
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), f: Some(value), r#type: attribute_type::FLOAT, ..AttributeProto::default() }
}

/// A text attribute.
pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        s: Some(value.as_bytes().to_vec()),
        r#type: attribute_type::STRING,
        ..AttributeProto::default()
    }
}

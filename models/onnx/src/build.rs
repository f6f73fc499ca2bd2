//! Constructors of tensors, attributes and nodes from Rust values.

use crate::proto::{AttributeProto, FLOAT, FLOAT16, INT8, INT32, INT64, NodeProto, TensorProto, UINT8, attribute_type};
use half::f16;

/// Makes an f32 tensor.
pub fn floats(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    tensor(name, shape, FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// Makes an f16 tensor from f32 values, rounded to nearest.
pub fn halves(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    tensor(name, shape, FLOAT16, values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect())
}

/// Makes an i8 tensor.
pub fn bytes(name: &str, shape: &[usize], values: &[i8]) -> TensorProto {
    tensor(name, shape, INT8, values.iter().map(|v| v.to_le_bytes()[0]).collect())
}

/// Makes a u8 scalar.
pub fn byte(name: &str, value: u8) -> TensorProto {
    tensor(name, &[], UINT8, vec![value])
}

/// Makes a one-dimensional i32 tensor.
pub fn words(name: &str, values: &[i32]) -> TensorProto {
    tensor(name, &[values.len()], INT32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// Makes a one-dimensional i64 tensor.
pub fn integers(name: &str, values: &[i64]) -> TensorProto {
    tensor(name, &[values.len()], INT64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn tensor(name: &str, shape: &[usize], data_type: i32, raw_data: Vec<u8>) -> TensorProto {
    let dims = shape.iter().map(|&extent| extent as i64).collect();
    TensorProto { dims, data_type, name: name.to_owned(), raw_data, ..TensorProto::default() }
}

/// Makes a node with one output; the node has the name of the output.
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

/// Makes an integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i: Some(value), r#type: attribute_type::INT, ..AttributeProto::default() }
}

/// Makes an attribute with a list of integers.
pub fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { name: name.to_owned(), ints, r#type: attribute_type::INTS, ..AttributeProto::default() }
}

/// Makes a float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), f: Some(value), r#type: attribute_type::FLOAT, ..AttributeProto::default() }
}

/// Makes a text attribute.
pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        s: Some(value.as_bytes().to_vec()),
        r#type: attribute_type::STRING,
        ..AttributeProto::default()
    }
}

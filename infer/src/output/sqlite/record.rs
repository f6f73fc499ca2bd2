//! The values of a row: a header of types, then the values, big-endian.

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `NULL`; also a column that is the row's own number.
    Null,
    /// An integer.
    Int(i64),
    /// A float.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl Value<'_> {
    /// The type as the header says it, and with it the length.
    fn serial_type(self) -> u64 {
        match self {
            Self::Null => 0,
            Self::Int(n) => match int_bytes(n) {
                0 => 8 + n as u64,
                6 => 5,
                8 => 6,
                bytes => bytes as u64,
            },
            Self::Real(_) => 7,
            Self::Blob(bytes) => 12 + 2 * bytes.len() as u64,
            Self::Text(text) => 13 + 2 * text.len() as u64,
        }
    }

    fn push(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Int(n) => bytes.extend_from_slice(&n.to_be_bytes()[8 - int_bytes(n)..]),
            Self::Real(x) => bytes.extend_from_slice(&x.to_be_bytes()),
            Self::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            Self::Blob(blob) => bytes.extend_from_slice(blob),
        }
    }
}

/// Bytes that an integer takes: none for 0 and 1, which are types of their own.
fn int_bytes(n: i64) -> usize {
    match n {
        0 | 1 => 0,
        _ => [1, 2, 3, 4, 6].into_iter().find(|bytes| (-(1i64 << (8 * bytes - 1))..1 << (8 * bytes - 1)).contains(&n)).unwrap_or(8),
    }
}

/// A row as bytes.
///
/// # Panics
/// If there are so many columns that the header itself is longer than 127 bytes.
pub fn encode(values: &[Value<'_>]) -> Vec<u8> {
    let mut bytes = vec![0];
    values.iter().for_each(|value| push_varint(&mut bytes, value.serial_type()));
    assert!(bytes.len() < 128, "the header of a row with {} columns", values.len());
    bytes[0] = bytes.len() as u8;
    values.iter().for_each(|value| value.push(&mut bytes));
    bytes
}

/// Seven bits a byte, the highest first; a ninth byte holds eight.
pub fn push_varint(bytes: &mut Vec<u8>, value: u64) {
    if value >> 56 != 0 {
        (1..9).rev().for_each(|i| bytes.push((value >> (7 * i + 1)) as u8 | 0x80));
        bytes.push(value as u8);
        return;
    }
    let length = (64 - value.leading_zeros()).div_ceil(7).max(1);
    (1..length).rev().for_each(|i| bytes.push((value >> (7 * i)) as u8 | 0x80));
    bytes.push(value as u8 & 0x7f);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_bytes_that_the_format_gives_them() {
        let varint = |value| {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            bytes
        };
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [127]);
        assert_eq!(varint(128), [0x81, 0]);
        assert_eq!(varint(0x3fff), [0xff, 0x7f]);
        assert_eq!(varint(u64::MAX), [0xff; 9]);
        assert_eq!(varint((1 << 56) - 1), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(varint(1 << 56), [0x80, 0xc0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]);
        assert_eq!([0, 1, 2, -1, 127, 128, -129, 1 << 23, 1 << 31, 1 << 47].map(int_bytes), [0, 0, 1, 1, 1, 2, 2, 4, 6, 8]);
        assert_eq!(encode(&[Value::Null, Value::Int(1), Value::Int(-2), Value::Text("ab")]), [5, 0, 9, 1, 17, 0xfe, b'a', b'b']);
    }
}

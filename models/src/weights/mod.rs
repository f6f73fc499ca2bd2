//! Named arrays and the safetensors file that stores them: bounded, fully checked, and with the same bytes for the same contents.

mod header;

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::graph::Graph;
use support::{Context, Error, Result, bail, durable};

/// Largest accepted size of a weights file.
pub const MAX_BYTES: u64 = 4 << 30;

/// A dense f32 array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub data: Vec<f32>,
}

impl Array {
    /// Wraps existing values.
    ///
    /// # Panics
    /// The number of values does not fit the shape.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "values for shape {shape:?}");
        Self { shape, data }
    }
}

/// Arrays by name, in alphabetical order.
pub type Weights = BTreeMap<String, Array>;

/// Contents of a safetensors file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightsFile {
    /// Arrays by name.
    pub arrays: Weights,
    /// Text by key, such as the format and the configuration of the run.
    pub metadata: BTreeMap<String, String>,
    /// True if the file carried a digest of its contents and the digest matched. Files of other programs carry none.
    pub verified: bool,
}

impl WeightsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Those of [`WeightsFile::from_bytes`], or a `PyTorch` archive; every error names the file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = durable::read(path, MAX_BYTES)?;
        if bytes.starts_with(b"PK\x03\x04") {
            bail!("reading {}: a zip archive, as PyTorch writes them, expected safetensors", path.display(); hint: "`train import FILE.pth -o FILE.safetensors` makes one of a PyTorch file");
        }
        Self::from_bytes(&bytes)
            .doing(|| format!("reading {}", path.display()))
            .hint(|| "a safetensors file is expected; if it was copied, copy it again and compare sha256")
    }

    /// Parses a file in memory. 16- and 64-bit floats are converted to f32; integer arrays (`num_batches_tracked`) are skipped.
    ///
    /// # Errors
    /// Bytes that are no safetensors file, or contents that do not match their digest.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        header::check(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let file = SafeTensors::deserialize(bytes)?;
        let mut metadata: BTreeMap<String, String> = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let expected = metadata.remove(DIGEST_KEY);
        let mut arrays = Weights::new();
        for (name, view) in file.iter() {
            if let Some(data) = to_f32(view.dtype(), view.data()) {
                arrays.insert(name.to_owned(), Array { shape: view.shape().to_vec(), data });
            }
        }
        let file = Self { arrays, metadata, verified: expected.is_some() };
        if let Some(expected) = expected {
            let found = file.digest();
            if expected != found {
                bail!("the contents do not match their sha256: the file says {expected}, found {found}");
            }
        }
        Ok(file)
    }

    /// Encodes the file, with the same bytes for the same contents on any machine. A digest over names, shapes, values and metadata is added.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut metadata = self.metadata.clone();
        metadata.insert(DIGEST_KEY.into(), self.digest());
        write_safetensors(&self.arrays, &metadata)
    }

    /// Writes the file atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        durable::write(path, &self.to_bytes()?)
    }

    /// SHA-256 over metadata, names, shapes and values; texts are preceded by their length.
    fn digest(&self) -> String {
        let mut bytes = Vec::new();
        let mut text = |s: &str| {
            bytes.extend_from_slice(&(s.len() as u64).to_le_bytes());
            bytes.extend_from_slice(s.as_bytes());
        };
        for (key, value) in &self.metadata {
            text(key);
            text(value);
        }
        for (name, array) in &self.arrays {
            text(name);
            text(&format!("{:?}", array.shape));
        }
        bytes.reserve(self.arrays.values().map(|array| 4 * array.data.len()).sum());
        for array in self.arrays.values() {
            bytes.extend(array.data.iter().flat_map(|v| v.to_le_bytes()));
        }
        durable::sha256(&bytes)
    }
}

/// Metadata key of the digest.
const DIGEST_KEY: &str = "contents_sha256";

/// Converts little-endian floats to f32; `None` for other element types.
fn to_f32(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F64 => Some(data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()),
        Dtype::BF16 => Some(data.as_chunks::<2>().0.iter().map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)).collect()),
        Dtype::F16 => Some(data.as_chunks::<2>().0.iter().map(|b| f16_to_f32(u16::from_le_bytes(*b))).collect()),
        _ => None,
    }
}

/// Converts IEEE 754 binary16 to binary32, exactly.
fn f16_to_f32(half: u16) -> f32 {
    let sign = if half >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(half >> 10 & 31), f32::from(half & 1023));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

/// Encodes a safetensors file: length of the header, JSON header, data. The `safetensors` crate is not used, because it keeps metadata in a
/// hash map, whose order changes between runs.
fn write_safetensors(arrays: &Weights, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    #[derive(serde::Serialize)]
    struct Entry<'a> {
        dtype: &'static str,
        shape: &'a [usize],
        data_offsets: [usize; 2],
    }
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::to_value(metadata)?);
    let mut end = 0;
    for (name, array) in arrays {
        let start = end;
        end += 4 * array.data.len();
        header.insert(name.clone(), serde_json::to_value(Entry { dtype: "F32", shape: &array.shape, data_offsets: [start, end] })?);
    }
    let mut json = serde_json::to_vec(&header)?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = Vec::with_capacity(8 + json.len() + end);
    bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend(arrays.values().flat_map(|array| array.data.iter().flat_map(|v| v.to_le_bytes())));
    Ok(bytes)
}

/// Selects the arrays that `graph` needs from `weights`.
///
/// # Errors
/// Missing arrays and other shapes, all listed in one error.
pub fn select(graph: &Graph, weights: &Weights) -> Result<Weights> {
    let mut selected = Weights::new();
    let mut faults = Vec::new();
    for parameter in graph.parameters() {
        match weights.get(&parameter.name) {
            Some(array) if array.shape == parameter.shape => {
                selected.insert(parameter.name, array.clone());
            }
            Some(array) => faults.push(format!("{}: expected shape {:?}, found {:?}", parameter.name, parameter.shape, array.shape)),
            None => faults.push(format!("{}: missing, expected shape {:?}", parameter.name, parameter.shape)),
        }
    }
    if faults.is_empty() {
        Ok(selected)
    } else {
        Err(Error::new(format!("{} weights do not fit the network:\n  {}", faults.len(), faults.join("\n  "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> WeightsFile {
        let arrays = [("a".to_owned(), Array::new([2, 2], vec![1.0, -2.0, 3.5, 0.0])), ("b".to_owned(), Array::new([1], vec![7.0]))];
        WeightsFile { arrays: arrays.into(), metadata: [("config".to_owned(), "x = 1".to_owned())].into(), verified: true }
    }

    #[test]
    fn files_round_trip_and_equal_contents_give_equal_bytes() {
        let bytes = example().to_bytes().unwrap();
        assert_eq!(WeightsFile::from_bytes(&bytes).unwrap(), example());
        assert_eq!(bytes, example().to_bytes().unwrap());
    }

    #[test]
    fn changed_bytes_and_prefixes_are_refused() {
        let bytes = example().to_bytes().unwrap();
        let good = WeightsFile::from_bytes(&bytes).unwrap();
        for end in 0..bytes.len() {
            assert!(WeightsFile::from_bytes(&bytes[..end]).is_err(), "prefix of {end} bytes");
        }
        for i in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[i] ^= 1 << bit;
                // A file that passes verification has the original contents: only white space in the header may differ.
                assert!(WeightsFile::from_bytes(&changed).map_or(true, |file| !file.verified || file == good), "byte {i} bit {bit}");
            }
        }
    }

    #[test]
    fn halves_convert_exactly() {
        assert_eq!(f16_to_f32(0x3c00), 1.0);
        assert_eq!(f16_to_f32(0xc000), -2.0);
        assert_eq!(f16_to_f32(0x0001), 5.960_464_5e-8);
        assert_eq!(f16_to_f32(0x7bff), 65504.0);
        assert!(f16_to_f32(0x7c00).is_infinite() && f16_to_f32(0x7c01).is_nan());
    }
}

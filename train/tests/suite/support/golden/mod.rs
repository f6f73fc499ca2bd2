//! Golden vectors of the project, read from the folder `$GOLDEN_DIR` if it is set, else from the repository.

use std::path::PathBuf;

use models::plane::Plane;
use safetensors::{Dtype, SafeTensors};

/// One file of golden vectors.
pub struct Golden {
    bytes: Vec<u8>,
}

impl Golden {
    pub fn open(name: &str) -> Self {
        let folder = std::env::var_os("GOLDEN_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden"), PathBuf::from);
        let path = folder.join(format!("{name}.safetensors"));
        Self { bytes: std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) }
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    /// Lists the names that end with `ending`, without the ending, sorted.
    pub fn prefixes(&self, ending: &str) -> Vec<String> {
        let file = self.file();
        let mut names: Vec<String> = file.names().into_iter().filter_map(|name| name.strip_suffix(ending)).map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Returns the shape and the values of a tensor of any type, converted to f64.
    pub fn values(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let file = self.file();
        let view = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let data = view.data();
        let values = match view.dtype() {
            Dtype::U8 => data.iter().map(|&v| f64::from(v)).collect(),
            Dtype::U16 => data.as_chunks().0.iter().map(|b| f64::from(u16::from_le_bytes(*b))).collect(),
            Dtype::I32 => data.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
            Dtype::I64 => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            Dtype::F32 => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            other => panic!("{name}: {other:?}"),
        };
        (view.shape().to_vec(), values)
    }

    /// Returns a tensor of shape `H W` as a plane.
    pub fn plane<T>(&self, name: &str, convert: impl Fn(f64) -> T) -> Plane<T>
    where
        T: Clone,
    {
        let (shape, values) = self.values(name);
        let [height, width] = shape[..] else { panic!("{name}: {shape:?}") };
        Plane::new(width, height, values.into_iter().map(convert).collect()).unwrap()
    }
}

//! Looks into a network: values of inner nodes, for whoever has to know their range.

use ort::session::Session;
use ort::value::TensorRef;
use support::{Context, Result};

use crate::segmenter::{Options, session};
use onnx::names::INPUT;

/// A session of a graph whose inner values are outputs.
pub struct Watcher {
    session: Session,
}

impl Watcher {
    /// A session of the bytes of an ONNX model that takes images as models of this project do.
    pub fn new(bytes: &[u8], options: &Options) -> Result<Self> {
        Ok(Self { session: session(bytes, options)? })
    }

    /// Runs `batch` images (`B H W 3`) and shows every f32 output with its name.
    pub fn run(&mut self, images: &[u8], [batch, height, width]: [usize; 3], mut see: impl FnMut(&str, &[f32])) -> Result<()> {
        let input = TensorRef::from_array_view(([batch, height, width, 3], images))?;
        let outputs = self.session.run(ort::inputs![INPUT => input]).doing(|| format!("running {batch} x {height} x {width} pixels"))?;
        for (name, value) in &outputs {
            if let Ok((_, values)) = value.try_extract_tensor::<f32>() {
                see(name, values);
            }
        }
        Ok(())
    }
}

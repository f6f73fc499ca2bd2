//! Values of inner nodes of a network, from which the exporter measures their ranges.

use ort::session::Session;
use ort::value::TensorRef;
use support::{Context, Result};

use crate::segmenter::{Options, session};
use onnx::names::INPUT;

/// A session of a graph whose inner values are declared as outputs.
pub struct Watcher {
    session: Session,
}

impl Watcher {
    /// Creates a session from the bytes of an ONNX model with the input of this project's models.
    pub fn new(bytes: &[u8], options: &Options) -> Result<Self> {
        Ok(Self { session: session(bytes, options)? })
    }

    /// Runs u8 images `B H W 3` and calls `on_output` with the name and the values of every f32 output.
    pub fn run(&mut self, images: &[u8], [batch, height, width]: [usize; 3], mut on_output: impl FnMut(&str, &[f32])) -> Result<()> {
        let input = TensorRef::from_array_view(([batch, height, width, 3], images))?;
        let outputs = self.session.run(ort::inputs![INPUT => input]).doing(|| format!("running {batch} x {height} x {width} pixels"))?;
        for (name, value) in &outputs {
            if let Ok((_, values)) = value.try_extract_tensor::<f32>() {
                on_output(name, values);
            }
        }
        Ok(())
    }
}

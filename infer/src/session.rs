//! Session of ONNX Runtime.

use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, Session, SessionOutputs};
use ort::value::{PrimitiveTensorElementType, TensorRef};
use support::{Context, Error, ErrorKind, Result, bail};

use crate::bound::Bound;
use crate::runtime::{self, Device, Waiting};
use crate::segmenter::Options;
use onnx::names::{INPUT, PROBABILITY, QUANTISED};

/// Session of ONNX Runtime with its buffers for batches of the last shape.
pub struct RuntimeSession {
    session: Session,
    bound: Option<Bound>,
}

impl RuntimeSession {
    /// Creates a session from the bytes of a model file.
    ///
    /// # Errors
    /// A missing runtime or device, a file that the runtime refuses, or unexpected inputs and outputs.
    pub fn new(bytes: &[u8], options: &Options) -> Result<Self> {
        let session = session(bytes, options)?;
        check_names(&session)?;
        Ok(Self { session, bound: None })
    }

    /// Computes probabilities `B H W` of images `B H W 3`.
    pub fn probabilities(&mut self, device: Device, images: &[u8], shape: [usize; 3]) -> Result<Vec<f32>> {
        let _waiting = waiting(device);
        run(&mut self.session, PROBABILITY, images, shape).map_err(with_kind)
    }

    /// Runs the session on bound buffers, which are reused while batches have one shape, as those of a slide have.
    pub fn quantised(&mut self, device: Device, images: &[u8], shape: [usize; 3]) -> Result<Vec<u8>> {
        let _waiting = waiting(device);
        if self.bound.as_ref().is_none_or(|bound| bound.shape() != shape) {
            self.bound = None; // freed first, because two sets of buffers may not fit into the device's memory
            self.bound = Some(Bound::new(&self.session, device, shape).map_err(with_kind)?);
        }
        let bound = self.bound.as_mut().expect("it is bound above");
        bound.run(&mut self.session, images).map_err(with_kind)
    }
}

/// Reports waiting for `TensorRT`, which builds an engine for minutes when it first gets images of a new shape.
fn waiting(device: Device) -> Option<Waiting> {
    (device == Device::TensorRt).then(|| Waiting::for_work("TensorRT builds its engine"))
}

/// Phrases by which ONNX Runtime and its providers report that the memory of the device is full; they have no error code for this.
const MEMORY_PHRASES: [&str; 4] = ["out of memory", "failed to allocate memory", "cuda failure 2:", "outofmemory"];

/// Sets the kind of an error of ONNX Runtime.
fn with_kind(error: Error) -> Error {
    let text = error.to_string().to_lowercase();
    if MEMORY_PHRASES.iter().any(|phrase| text.contains(phrase)) { error.of_kind(ErrorKind::OutOfMemory) } else { error }
}

/// Runs a session for one output.
fn run<T>(session: &mut Session, output: &str, images: &[u8], shape: [usize; 3]) -> Result<Vec<T>>
where
    T: PrimitiveTensorElementType + Clone,
{
    let [batch, height, width] = shape;
    let input = TensorRef::from_array_view(([batch, height, width, 3], images))?;
    let only = RunOptions::new()?.with_outputs(OutputSelector::no_default().with(output));
    let outputs = session.run_with_options(ort::inputs![INPUT => input], &only)?;
    extract(&outputs, output, batch * height * width)
}

/// Creates a session from the bytes of any ONNX model, with the options of a [`Segmenter`](crate::segmenter::Segmenter) but without its checks.
pub fn session(bytes: &[u8], options: &Options) -> Result<Session> {
    let environment = runtime::environment(options.runtime.as_deref())?;
    let (_, version) = runtime::loaded().expect("the environment loads it");
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    };
    let builder = Session::builder(&environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(options.spin)?;
    let mut builder = runtime::register(options.device, builder, &environment, threads, options.precision, bytes)?;
    let _waiting = waiting(options.device.resolve());
    builder.commit_from_memory(bytes).map_err(Error::from).doing(|| format!("creating a session with ONNX Runtime {version}"))
}

/// Checks the names of inputs and outputs.
fn check_names(session: &Session) -> Result<()> {
    let inputs: Vec<&str> = session.inputs().iter().map(ort::value::Outlet::name).collect();
    let outputs: Vec<&str> = session.outputs().iter().map(ort::value::Outlet::name).collect();
    if inputs != [INPUT] || !outputs.contains(&PROBABILITY) || !outputs.contains(&QUANTISED) {
        bail!(
            "the model has the inputs {inputs:?} and outputs {outputs:?}, expected {INPUT:?} and {PROBABILITY:?}, {QUANTISED:?}";
            hint: "export the checkpoint again with this version of the program"
        );
    }
    Ok(())
}

/// Copies the `count` values of an output.
fn extract<T>(outputs: &SessionOutputs, name: &str, count: usize) -> Result<Vec<T>>
where
    T: PrimitiveTensorElementType + Clone,
{
    let Some(value) = outputs.get(name) else { bail!("the model has no output {name:?}") };
    let (shape, values) = value.try_extract_tensor::<T>().doing(|| format!("reading the output {name:?}"))?;
    if values.len() != count {
        bail!("the output {name:?} has the shape {shape:?}, expected {count} values");
    }
    Ok(values.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_about_full_memory_have_their_kind() {
        for full in
            ["CUDA failure 2: out of memory ; GPU=0", "Failed to allocate memory for requested buffer of size 8", "TensorRT: OutOfMemory"]
        {
            assert_eq!(with_kind(Error::new(full)).kind(), ErrorKind::OutOfMemory, "{full}");
        }
        assert_eq!(with_kind(Error::new("a kernel failed")).kind(), ErrorKind::Other);
    }
}

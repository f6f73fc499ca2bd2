//! Network from u8 images to probabilities: an ONNX Runtime session or the project's own kernels, built from the bytes that were hashed.

use std::path::PathBuf;
use std::sync::Arc;

use engine::Engine;
use models::card::ModelCard;
use onnx::names::{INPUT, PROBABILITY, QUANTISED};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, Session, SessionOutputs};
use ort::value::{PrimitiveTensorElementType, TensorRef};
use support::{Context, Error, ErrorKind, Result, bail};

use crate::bound::Bound;
pub use crate::model::Model;
use crate::runtime::{self, Device, Precision, Waiting};
use crate::tile::Windows;

/// A network on u8 images whose height and width are multiples of the card's stride.
pub trait Network: Send {
    /// Computes `batch * height * width` probabilities as `round(255 p)` of images `B H W C`, `batch * height * width * 3` bytes.
    ///
    /// # Errors
    /// An error of the kind [`ErrorKind::OutOfMemory`] makes the pipeline go on with smaller batches.
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>>;

    /// Returns the constraints on the windows of a larger image.
    fn windows(&self) -> Windows {
        Windows::OneSize
    }
}

/// Options of a session.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Device that runs the network.
    pub device: Device,
    /// Number of threads of the session; 0 stands for the number of cores.
    pub threads: usize,
    /// Arithmetic of inner layers.
    pub precision: Precision,
    /// True to let idle threads spin, which is slightly faster if no other threads need the cores.
    pub spin: bool,
    /// ONNX Runtime library or its folder; by default, searched by [`runtime::locate`].
    pub runtime: Option<PathBuf>,
}

/// Model ready to run, used by one thread at a time; [`Segmenter::beside`] creates further ones.
pub struct Segmenter {
    backend: Backend,
    card: ModelCard,
    device: Device,
}

/// Implementation of the network.
enum Backend {
    Session(Box<Hosted>),
    Native(Box<Engine>),
}

/// Session of ONNX Runtime with its buffers for batches of the last shape.
struct Hosted {
    session: Session,
    bound: Option<Bound>,
}

impl Segmenter {
    /// Creates a session from the model's bytes; loads ONNX Runtime unless the device is [`Device::Native`].
    ///
    /// # Errors
    /// A missing runtime or device, a file that the runtime refuses, or unexpected inputs and outputs.
    pub fn new(model: &Model, options: &Options) -> Result<Self> {
        let device = options.device.resolve();
        let backend = if device == Device::Native {
            check_precision(options.precision)?;
            Backend::Native(Box::new(Engine::new(Arc::new(model.program()?), options.threads)?))
        } else {
            let session = session(&model.bytes, options)?;
            check_names(&session)?;
            Backend::Session(Box::new(Hosted { session, bound: None }))
        };
        tracing::info!("{} runs on {device} in {}", model.card.name, options.precision.name());
        Ok(Self { backend, card: model.card.clone(), device })
    }

    /// Creates a further session that runs beside this one; sessions of the project's own kernels share their weights.
    pub fn beside(&self, model: &Model, options: &Options) -> Result<Self> {
        let Backend::Native(native) = &self.backend else { return Self::new(model, options) };
        let backend = Backend::Native(Box::new(Engine::new(native.program().clone(), options.threads)?));
        Ok(Self { backend, card: self.card.clone(), device: self.device })
    }

    /// Returns the model card.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// Returns the device, never [`Device::Auto`].
    pub fn device(&self) -> Device {
        self.device
    }

    /// Returns a description of the kernels, with version or instruction set.
    pub fn kernels(&self) -> String {
        match &self.backend {
            Backend::Native(native) => format!("own kernels, {}", native.program().isa().name()),
            Backend::Session(_) => runtime::loaded().map_or_else(String::new, |(_, version)| format!("ONNX Runtime {version}")),
        }
    }

    /// Computes probabilities in 0..=1, `B H W`, of u8 RGB images `B H W 3`.
    ///
    /// # Errors
    /// A size that is not a multiple of the stride, or an error of the runtime.
    pub fn probabilities(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<f32>> {
        let shape = [batch, height, width];
        check_shape(self.card.stride, images.len(), shape)?;
        match &mut self.backend {
            Backend::Native(native) => check_count(native.probabilities(images, shape), shape),
            Backend::Session(hosted) => {
                let _waiting = waiting(self.device);
                run(&mut hosted.session, &self.card, PROBABILITY, images, shape).map_err(with_kind)
            }
        }
    }
}

impl Hosted {
    /// Runs the session on bound buffers, which are reused while batches have one shape, as those of a slide have.
    fn quantised(&mut self, device: Device, images: &[u8], shape: [usize; 3]) -> Result<Vec<u8>> {
        if self.bound.as_ref().is_none_or(|bound| bound.shape() != shape) {
            self.bound = None; // freed first, because two sets of buffers may not fit into the device's memory
            self.bound = Some(Bound::new(&self.session, device, shape)?);
        }
        let bound = self.bound.as_mut().expect("it is bound above");
        bound.run(&mut self.session, images)
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

/// Checks that there is one value per pixel.
fn check_count<T>(values: Vec<T>, shape: [usize; 3]) -> Result<Vec<T>> {
    if values.len() != shape.iter().product::<usize>() {
        bail!("the network gives {} values for images of {shape:?}, expected one for each pixel", values.len());
    }
    Ok(values)
}

fn run<T>(session: &mut Session, card: &ModelCard, output: &str, images: &[u8], shape: [usize; 3]) -> Result<Vec<T>>
where
    T: PrimitiveTensorElementType + Clone,
{
    let [batch, height, width] = shape;
    let input = TensorRef::from_array_view(([batch, height, width, 3], images))?;
    let only = RunOptions::new()?.with_outputs(OutputSelector::no_default().with(output));
    let outputs = session
        .run_with_options(ort::inputs![INPUT => input], &only)
        .doing(|| format!("running {} on {batch} x {height} x {width} pixels", card.name))?;
    extract(&outputs, output, batch * height * width)
}

impl Network for Segmenter {
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>> {
        let shape = [batch, height, width];
        check_shape(self.card.stride, images.len(), shape)?;
        match &mut self.backend {
            Backend::Native(native) => check_count(native.quantised(images, shape), shape),
            Backend::Session(hosted) => {
                let _waiting = waiting(self.device);
                let doing = || format!("running {} on {batch} x {height} x {width} pixels", self.card.name);
                hosted.quantised(self.device, images, shape).map_err(with_kind).doing(doing)
            }
        }
    }

    fn windows(&self) -> Windows {
        match self.backend {
            Backend::Native(_) => Windows::Long,
            Backend::Session(_) => Windows::OneSize,
        }
    }
}

/// Creates a session from the bytes of any ONNX model, with the options of a [`Segmenter`] but without its checks.
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
    let mut builder = options.device.register(builder, &environment, threads, options.precision, bytes)?;
    let _waiting = waiting(options.device.resolve());
    builder.commit_from_memory(bytes).map_err(Error::from).doing(|| format!("creating a session with ONNX Runtime {version}"))
}

/// Checks that the arithmetic is f32, the only one of the project's own kernels.
fn check_precision(precision: Precision) -> Result<()> {
    match precision {
        Precision::F32 => Ok(()),
        Precision::Bf16 => bail!("the device native computes in f32 only"; hint: "bf16 is for the device openvino"),
    }
}

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

fn check_shape(stride: usize, bytes: usize, shape: [usize; 3]) -> Result<()> {
    let [batch, height, width] = shape;
    if batch == 0 || height == 0 || width == 0 || !height.is_multiple_of(stride) || !width.is_multiple_of(stride) {
        bail!("the model takes heights and widths that are multiples of {stride}, found {batch} x {height} x {width}");
    }
    let expected = batch * height * width * 3;
    if bytes != expected {
        bail!("{batch} images of {height} x {width} pixels need {expected} bytes, found {bytes}");
    }
    Ok(())
}

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

    #[test]
    fn shapes_of_images_are_checked() {
        check_shape(32, 2 * 64 * 96 * 3, [2, 64, 96]).unwrap();
        assert!(check_shape(32, 64 * 65 * 3, [1, 64, 65]).unwrap_err().to_string().contains("multiples of 32"));
        assert!(check_shape(32, 0, [0, 64, 64]).is_err());
        assert!(check_shape(32, 64 * 64 * 3 - 1, [1, 64, 64]).unwrap_err().to_string().contains("12287"));
    }
}

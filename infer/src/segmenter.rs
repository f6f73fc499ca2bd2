//! Network from u8 images to probabilities: an ONNX Runtime session or the project's own kernels, built from the bytes that were hashed.

use std::path::PathBuf;
use std::sync::Arc;

use engine::Engine;
use models::card::ModelCard;
#[cfg(feature = "onnxruntime")]
use support::Context;
use support::{Result, bail};

use crate::model::Model;
use crate::network::Network;
#[cfg(feature = "onnxruntime")]
use crate::runtime;
use crate::runtime::{Device, Precision};
#[cfg(feature = "onnxruntime")]
use crate::session::RuntimeSession;
#[cfg(feature = "onnxruntime")]
pub use crate::session::session;
use crate::tile::Windows;

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
    #[cfg(feature = "onnxruntime")]
    Session(Box<RuntimeSession>),
    Native(Box<Engine>),
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
            runtime_session(model, options)?
        };
        tracing::info!("{} runs on {device} in {}", model.card.name, options.precision.name());
        Ok(Self { backend, card: model.card.clone(), device })
    }

    /// Creates a further session that runs beside this one; sessions of the project's own kernels share their weights.
    #[cfg_attr(not(feature = "onnxruntime"), expect(unused_variables))]
    pub fn beside(&self, model: &Model, options: &Options) -> Result<Self> {
        match &self.backend {
            Backend::Native(native) => {
                let backend = Backend::Native(Box::new(Engine::new(native.program().clone(), options.threads)?));
                Ok(Self { backend, card: self.card.clone(), device: self.device })
            }
            #[cfg(feature = "onnxruntime")]
            Backend::Session(_) => Self::new(model, options),
        }
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
            #[cfg(feature = "onnxruntime")]
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
            #[cfg(feature = "onnxruntime")]
            Backend::Session(session) => session.probabilities(self.device, images, shape).doing(|| running(&self.card, shape)),
        }
    }
}

#[cfg(feature = "onnxruntime")]
fn runtime_session(model: &Model, options: &Options) -> Result<Backend> {
    Ok(Backend::Session(Box::new(RuntimeSession::new(&model.bytes, options)?)))
}

#[cfg(not(feature = "onnxruntime"))]
fn runtime_session(_: &Model, options: &Options) -> Result<Backend> {
    bail!(Unsupported; "the device {} needs ONNX Runtime, which this build leaves out", options.device; hint: "use the device native, or build the crate infer with the feature onnxruntime")
}

#[cfg(feature = "onnxruntime")]
fn running(card: &ModelCard, [batch, height, width]: [usize; 3]) -> String {
    format!("running {} on {batch} x {height} x {width} pixels", card.name)
}

/// Checks that there is one value per pixel.
fn check_count<T>(values: Vec<T>, shape: [usize; 3]) -> Result<Vec<T>> {
    if values.len() != shape.iter().product::<usize>() {
        bail!("the network gives {} values for images of {shape:?}, expected one for each pixel", values.len());
    }
    Ok(values)
}

impl Network for Segmenter {
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>> {
        let shape = [batch, height, width];
        check_shape(self.card.stride, images.len(), shape)?;
        match &mut self.backend {
            Backend::Native(native) => check_count(native.quantised(images, shape), shape),
            #[cfg(feature = "onnxruntime")]
            Backend::Session(session) => session.quantised(self.device, images, shape).doing(|| running(&self.card, shape)),
        }
    }

    fn windows(&self) -> Windows {
        match self.backend {
            Backend::Native(_) => Windows::Long,
            #[cfg(feature = "onnxruntime")]
            Backend::Session(_) => Windows::OneSize,
        }
    }
}

/// Checks that the arithmetic is f32, the only one of the project's own kernels.
fn check_precision(precision: Precision) -> Result<()> {
    match precision {
        Precision::F32 => Ok(()),
        Precision::Bf16 => bail!("the device native computes in f32 only"; hint: "bf16 is for the device openvino"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_images_are_checked() {
        check_shape(32, 2 * 64 * 96 * 3, [2, 64, 96]).unwrap();
        assert!(check_shape(32, 64 * 65 * 3, [1, 64, 65]).unwrap_err().to_string().contains("multiples of 32"));
        assert!(check_shape(32, 0, [0, 64, 64]).is_err());
        assert!(check_shape(32, 64 * 64 * 3 - 1, [1, 64, 64]).unwrap_err().to_string().contains("12287"));
    }
}

//! Native libraries: search, installation, loading, and the devices that they support.
//!
//! No native library is linked. The devices of ONNX Runtime need ONNX Runtime, and some slide formats need `OpenSlide`. Both are searched in
//! this order: command-line option, environment variable, `lib/` beside the program, the cache that `infer runtime install` fills.

#[cfg(feature = "onnxruntime")]
mod cuda;
mod device;
#[cfg(feature = "onnxruntime")]
mod doctor;
#[cfg(feature = "onnxruntime")]
mod engines;
mod install;
#[cfg(feature = "onnxruntime")]
mod load;
#[cfg(feature = "onnxruntime")]
mod openvino;
#[cfg(feature = "onnxruntime")]
mod providers;
mod telemetry;
#[cfg(feature = "onnxruntime")]
mod waiting;

pub use device::{Device, Precision, has_amx, has_intel_cpu};
#[cfg(feature = "onnxruntime")]
pub use doctor::{Finding, doctor};
pub use install::{Installed, install, install_library};
#[cfg(feature = "onnxruntime")]
pub(crate) use load::environment;
#[cfg(feature = "onnxruntime")]
pub use load::{load, loaded};
#[cfg(feature = "onnxruntime")]
pub(crate) use providers::register;
#[cfg(feature = "onnxruntime")]
pub(crate) use support::library::locate_checked;
pub use support::library::{Found, Library, Place, has_nvidia, locate};
pub use telemetry::disable_telemetry;
#[cfg(feature = "onnxruntime")]
pub(crate) use waiting::Waiting;

//! Native libraries: search, installation, loading, and the devices that they support.
//!
//! No native library is linked. The devices of ONNX Runtime need ONNX Runtime, and some slide formats need `OpenSlide`. Both are searched in
//! this order: command-line option, environment variable, `lib/` beside the program, the cache that `infer runtime install` fills.

mod cuda;
mod device;
mod doctor;
mod engines;
mod install;
mod load;
mod openvino;
mod telemetry;
mod waiting;

pub use device::{Device, Precision, has_amx, has_intel_cpu};
pub use doctor::{Finding, doctor};
pub use install::{Installed, install, install_library};
pub(crate) use load::environment;
pub use load::{load, loaded};
pub(crate) use support::library::locate_checked;
pub use support::library::{Found, Library, Place, has_nvidia, locate};
pub use telemetry::disable_telemetry;
pub(crate) use waiting::Waiting;

//! The native libraries: where they are found, how they are installed, and what they can run on.
//!
//! Nothing native is linked. ONNX Runtime is needed to run models, `OpenSlide` only for some slide formats; both are loaded from,
//! in this order: a flag, an environment variable, `lib/` beside the program, the cache that `infer runtime install` fills.

mod cuda;
mod device;
mod doctor;
mod engines;
mod install;
mod load;
mod locate;
mod members;
mod openvino;
mod pinned;
mod telemetry;
mod waiting;

pub use device::{Device, Precision, has_amx, has_intel_cpu, has_nvidia};
pub use doctor::{Finding, doctor};
pub use install::{Installed, install, install_library};
pub(crate) use load::environment;
pub use load::{load, loaded};
pub use locate::{Found, Library, Place, locate};
pub(crate) use pinned::locate_checked;
pub use telemetry::disable_telemetry;
pub(crate) use waiting::Waiting;

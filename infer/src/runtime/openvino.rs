//! Intel's `OpenVINO`, a plugin that ONNX Runtime loads. In bf16 it is several times faster than ONNX Runtime's own kernels where the CPU has
//! AMX; without AMX bf16 is slower than f32, and f32 about as fast as ONNX Runtime's own.

use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::builder::SessionBuilder;
use support::{Context, Result};

use super::{Library, Precision, device, locate_checked};

/// The provider's name in ONNX Runtime.
const PROVIDER: &str = "OpenVINOExecutionProvider";

/// Whether the plugin is registered: a second time would be an error.
static REGISTERED: Mutex<bool> = Mutex::new(false);

/// Makes sessions of `builder` run on the CPU by `OpenVINO`, all of it.
///
/// The precision is always stated: left alone, the plugin takes bf16 wherever the CPU has it.
pub fn register(builder: SessionBuilder, environment: &Environment, threads: usize, precision: Precision) -> Result<SessionBuilder> {
    if precision == Precision::Bf16 && !device::has_amx() {
        tracing::warn!("this CPU has no AMX: bf16 is slower on it than f32");
    }
    load_plugin(environment)?;
    let options = [(format!("{PROVIDER}.load_config"), configuration(threads, precision))];
    Ok(device::on_provider(builder, environment, PROVIDER, &options)?.with_disable_cpu_fallback()?)
}

fn load_plugin(environment: &Environment) -> Result<()> {
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*registered {
        let found = locate_checked(Library::OpenVino, None)?;
        environment
            .register_ep_library("openvino", &found.path)
            .doing(|| format!("loading OpenVINO from {}, which {} names", found.path.display(), found.place))?;
        *registered = true;
    }
    Ok(())
}

/// What the plugin hands to its CPU device, as JSON.
fn configuration(threads: usize, precision: Precision) -> String {
    let precision = precision.name();
    let cpu = serde_json::json!({
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads.to_string(),
        "NUM_STREAMS": "1",
        "ENABLE_CPU_PINNING": "NO",
    });
    serde_json::json!({ "CPU": cpu }).to_string()
}

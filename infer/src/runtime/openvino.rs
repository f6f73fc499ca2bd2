//! Intel's `OpenVINO`, a plugin of ONNX Runtime.
//!
//! On CPUs with AMX, bf16 is several times faster than ONNX Runtime's own kernels. Without AMX, bf16 is slower than f32, and f32 is about as
//! fast as ONNX Runtime's own kernels.

use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::builder::SessionBuilder;
use support::{Context, Result};

use super::providers::on_provider;
use super::{Library, Precision, has_amx, locate_checked};

/// Name of the provider in ONNX Runtime.
const PROVIDER: &str = "OpenVINOExecutionProvider";

/// True once the plugin is registered, because registering it again would be an error.
static REGISTERED: Mutex<bool> = Mutex::new(false);

/// Configures sessions of `builder` to run on the CPU by `OpenVINO`, without a fallback to other kernels.
///
/// The precision is always stated, because the plugin by default uses bf16 on CPUs that support it.
pub fn register(builder: SessionBuilder, environment: &Environment, threads: usize, precision: Precision) -> Result<SessionBuilder> {
    if precision == Precision::Bf16 && !has_amx() {
        tracing::warn!("this CPU has no AMX: bf16 is slower on it than f32");
    }
    load_plugin(environment)?;
    let options = [(format!("{PROVIDER}.load_config"), configuration(threads, precision))];
    Ok(on_provider(builder, environment, PROVIDER, &options)?.with_disable_cpu_fallback()?)
}

/// Registers the plugin with ONNX Runtime, once per process.
fn load_plugin(environment: &Environment) -> Result<()> {
    let mut is_registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_registered {
        let found = locate_checked(Library::OpenVino, None)?;
        environment
            .register_ep_library("openvino", &found.path)
            .doing(|| format!("loading OpenVINO from {}, which {} names", found.path.display(), found.place))?;
        *is_registered = true;
    }
    Ok(())
}

/// Returns the settings of the plugin's CPU device as JSON.
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

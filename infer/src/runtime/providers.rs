//! Execution providers of ONNX Runtime, by device.

use std::path::Path;

use ort::environment::Environment;
use ort::ep;
use ort::memory::DeviceType;
use ort::session::builder::SessionBuilder;
use support::{Context, Error, Result, bail};

use super::load::loaded_from;
use super::{Device, Precision, cuda, engines, has_intel_cpu, loaded, openvino};

/// Name of the CPU provider in ONNX Runtime.
const CPU_PROVIDER: &str = "CPUExecutionProvider";

/// Configures sessions of `builder` for `model` to run on a device; only some providers use `threads` and `precision`.
///
/// # Errors
/// A device that is unavailable, or that does not support the precision.
pub(crate) fn register(
    device: Device,
    builder: SessionBuilder,
    environment: &Environment,
    threads: usize,
    precision: Precision,
    model: &[u8],
) -> Result<SessionBuilder> {
    let mut engine = None;
    let provider = match device.resolve() {
        Device::Auto | Device::Cpu if precision == Precision::Bf16 => {
            bail!("the device cpu computes in f32 only"; hint: "bf16 is for the device openvino")
        }
        Device::Auto | Device::Cpu => return on_provider(builder, environment, CPU_PROVIDER, &[]),
        Device::Native => bail!("the device native is not one of ONNX Runtime"; hint: "use --device cpu"),
        Device::OpenVino => return openvino::register(builder, environment, threads, precision),
        Device::Cuda => ep::CUDA::default().build(),
        Device::TensorRt => {
            let runtime = loaded().map_or_else(String::new, |(_, version)| version);
            tensorrt(&engine.insert(engines::folder(model, &runtime)?).0).build()
        }
    };
    if let Some(runtime) = loaded_from() {
        cuda::load_beside(&runtime)?;
    }
    let builder = builder
        .with_execution_providers([provider.error_on_failure()])
        .map_err(Error::from)
        .doing(|| format!("requesting the device {device} from ONNX Runtime"))
        .hint(|| {
            "`infer runtime install --cuda` fetches an ONNX Runtime for NVIDIA GPUs with CUDA and cuDNN (not TensorRT's own libraries); the driver must be 580 or newer"
        })?;
    if let Some((folder, false)) = engine {
        tracing::warn!("TensorRT builds its engine for this model and GPU, which takes minutes, once; it is kept in {}", folder.display());
    }
    Ok(builder)
}

/// Returns the provider `TensorRT` with `engines` as the cache of its engine and timings.
fn tensorrt(engines: &Path) -> ep::TensorRT {
    let folder = engines.display();
    let cached = ep::TensorRT::default().with_engine_cache(true).with_engine_cache_path(&folder);
    cached.with_timing_cache(true).with_timing_cache_path(&folder)
}

/// Configures sessions of `builder` to run on the CPU device of one provider.
///
/// The default CPU provider is named explicitly too, because the binding otherwise gives CPU sessions to any registered plugin.
pub(super) fn on_provider(
    builder: SessionBuilder,
    environment: &Environment,
    provider: &str,
    options: &[(String, String)],
) -> Result<SessionBuilder> {
    let is_requested =
        |device: &ort::device::Device| device.ep().is_ok_and(|name| name == provider) && device.hardware_device().ty() == DeviceType::CPU;
    let devices: Vec<_> = environment.devices().filter(is_requested).collect();
    if devices.is_empty() {
        let reason = if has_intel_cpu() { "" } else { "it supports Intel processors only: " };
        bail!("ONNX Runtime's {provider} offers no CPU on this machine"; hint: "{reason}use another device");
    }
    builder.with_devices(devices, Some(options)).map_err(Error::from).doing(|| format!("requesting ONNX Runtime's {provider}"))
}

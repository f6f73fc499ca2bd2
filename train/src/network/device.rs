//! Which kernels run a network.

use std::sync::Arc;

use models::Result;

use super::kernels::{Cpu, Kernels};
use crate::config::DeviceChoice;

/// The kernels for a device. `auto` takes a GPU if this program was built for one and one is there; asked for by name and
/// not there, it is an error.
pub fn kernels(choice: DeviceChoice) -> Result<Arc<dyn Kernels>> {
    match choice {
        DeviceChoice::Cpu => Ok(cpu()),
        DeviceChoice::Cuda => cuda(),
        DeviceChoice::Auto => cuda().or_else(|error| {
            tracing::debug!("no GPU: {error}");
            Ok(cpu())
        }),
    }
}

fn cpu() -> Arc<dyn Kernels> {
    let cpu = Cpu::default();
    tracing::info!("training on the CPU in f32, kernels {:?}, {} threads", cpu.isa(), rayon::current_num_threads());
    Arc::new(cpu)
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<Arc<dyn Kernels>> {
    use candle_core::{DType, Device};
    use models::Context;

    let device = Device::new_cuda(0).doing(|| "opening the first CUDA device").hint(
        || "a driver for CUDA 13 and libcublas, libcudnn, libcurand, libnvrtc on LD_LIBRARY_PATH are needed; --set run.device=cpu works without",
    )?;
    tracing::info!("training on the first CUDA device in f32");
    Ok(Arc::new(super::kernels::Reference::new(device, DType::F32)))
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Arc<dyn Kernels>> {
    models::bail!("this program was built without CUDA"; hint: "build it with `cargo build --release -p train --features cuda`, or use --set run.device=cpu")
}

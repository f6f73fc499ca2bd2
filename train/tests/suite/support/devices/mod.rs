//! Devices of this machine that run the CUDA kernels: the emulator and a GPU.

use std::sync::Arc;

use candle_core::DType;
use train::network::kernels::Kernels;
use train::network::kernels::cuda::Cuda;

use super::emulator::Emulator;

/// Lists the available devices for feature maps of this type: name and kernels.
pub fn devices(feature_dtype: DType) -> Vec<(String, Arc<dyn Kernels>)> {
    let mut found: Vec<(String, Arc<dyn Kernels>)> = Vec::new();
    if let Some(emulator) = Emulator::new(feature_dtype) {
        found.push((format!("emulator, {feature_dtype:?}"), Arc::new(Cuda::new(emulator))));
    }
    found.extend(gpu(feature_dtype));
    found
}

#[cfg(feature = "cuda")]
fn gpu(feature_dtype: DType) -> Option<(String, Arc<dyn Kernels>)> {
    use train::network::kernels::cuda::Gpu;
    match Gpu::new(0, feature_dtype, false) {
        Ok(gpu) => Some((format!("{}, {feature_dtype:?}", gpu.name()), Arc::new(Cuda::new(gpu)))),
        Err(error) => {
            eprintln!("SKIPPED: the CUDA kernels are not run on a GPU: {error}");
            None
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn gpu(_: DType) -> Option<(String, Arc<dyn Kernels>)> {
    eprintln!("SKIPPED: the CUDA kernels are not run on a GPU: the tests were built without the feature cuda");
    None
}

//! NVIDIA GPU as a [`Machine`]: one stream, the memory of candle's tensors, kernels compiled by NVRTC, and convolutions by cuDNN.

mod algorithm;
mod cudnn;
mod descriptor;
mod memory;
#[cfg(feature = "nccl")]
mod nccl;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaFunction, CudaStream, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};
use candle_core::{CudaDevice, DType, Device, Error, Result, Tensor, bail};
use support::Context;

use super::machine::{Geometry, KernelArg, Machine, Pass};
use super::source;
use cudnn::Convolutions;
use memory::Staging;
pub use memory::peak_bytes;
#[cfg(feature = "nccl")]
pub use nccl::Nccl;

/// Minimum compute capability for bf16 arithmetic.
const BF16_SINCE: (i32, i32) = (8, 0);

/// GPU with compiled kernels, cuDNN and staging buffers.
pub struct Gpu {
    device: Device,
    cuda: CudaDevice,
    stream: Arc<CudaStream>,
    feature_dtype: DType,
    name: String,
    functions: HashMap<String, CudaFunction>,
    convolutions: Mutex<Convolutions>,
    staging: Mutex<Staging>,
}

impl Gpu {
    /// Reports whether GPU `ordinal` supports bf16 arithmetic.
    pub fn has_bf16(ordinal: usize) -> support::Result<bool> {
        let doing = || format!("querying CUDA device {ordinal}");
        let context = CudaContext::new(ordinal).doing(doing)?;
        Ok(context.compute_capability().doing(doing)? >= BF16_SINCE)
    }

    /// Returns the number of visible GPUs.
    #[cfg(feature = "nccl")]
    pub fn count() -> support::Result<usize> {
        Ok(CudaContext::device_count().doing(|| "counting CUDA devices")? as usize)
    }

    /// Opens GPU `ordinal` for feature maps in f32 or bf16. `deterministic` restricts cuDNN to algorithms that give the same bits in every
    /// run.
    pub fn new(ordinal: usize, feature_dtype: DType, deterministic: bool) -> support::Result<Self> {
        let cuda = open(ordinal)?;
        let stream = cuda.cuda_stream();
        let context = stream.context();
        let (name, capability) = (
            context.name().doing(|| "querying the GPU's name")?,
            context.compute_capability().doing(|| "querying the GPU's compute capability")?,
        );
        if feature_dtype == DType::BF16 && capability < BF16_SINCE {
            support::bail!("{name} has compute capability {}.{}, which has no bf16 arithmetic", capability.0, capability.1; hint: "use --set run.precision=f32");
        }
        memory::keep_freed(context).doing(|| "setting up the GPU's memory pool")?;
        let functions = functions(context, feature_dtype, capability)?;
        let convolutions = Convolutions::new(&cuda, feature_dtype, deterministic).doing(|| "opening cuDNN")?;
        Ok(Self {
            device: Device::Cuda(cuda.clone()),
            cuda,
            stream,
            feature_dtype,
            name,
            functions,
            convolutions: Mutex::new(convolutions),
            staging: Mutex::new(Staging::default()),
        })
    }

    /// Returns the GPU's product name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn open(ordinal: usize) -> support::Result<CudaDevice> {
    let cuda = CudaDevice::new_with_stream(ordinal).doing(|| format!("opening CUDA device {ordinal}")).hint(
        || "a driver for CUDA 13 and libcublas, libcudnn, libcurand, libnvrtc on LD_LIBRARY_PATH are needed; --set run.device=cpu works without",
    )?;
    // SAFETY: all work and all memory of this device belong to one stream, whose order suffices for synchronisation.
    unsafe { cuda.disable_event_tracking() };
    Ok(cuda)
}

/// Compiles every kernel for the compute capability of the GPU.
fn functions(
    context: &Arc<CudaContext>,
    feature_dtype: DType,
    (major, minor): (i32, i32),
) -> support::Result<HashMap<String, CudaFunction>> {
    let options = vec!["--std=c++17".into(), format!("--gpu-architecture=compute_{major}{minor}")];
    let compiled = compile_ptx_with_opts(source::program(feature_dtype), CompileOptions { options, ..CompileOptions::default() });
    let doing = || format!("compiling the CUDA kernels for compute capability {major}.{minor}");
    let hint = || "--set run.kernels=reference trains without them, slowly";
    let ptx = match compiled {
        Err(CompileError::CompileError { log, .. }) => return Err(support::Error::new(log.to_string_lossy())).doing(doing).hint(hint),
        other => other.doing(doing).hint(hint)?,
    };
    let module = context.load_module(ptx).doing(|| "loading the CUDA kernels").hint(hint)?;
    source::kernels().into_iter().map(|name| module.load_function(&name).doing(|| name.clone()).map(|f| (name, f))).collect()
}

impl Machine for Gpu {
    fn device(&self) -> &Device {
        &self.device
    }

    fn feature_dtype(&self) -> DType {
        self.feature_dtype
    }

    fn empty(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        memory::empty(&self.cuda, shape, dtype)
    }

    fn address(&self, tensor: &Tensor) -> Result<u64> {
        memory::address(&self.stream, tensor)
    }

    fn upload(&self, tensor: &Tensor) -> Result<Tensor> {
        if tensor.device().same_device(&self.device) {
            return Ok(tensor.clone());
        }
        if !matches!(tensor.dtype(), DType::F32 | DType::U8) || tensor.elem_count() == 0 {
            return tensor.to_device(&self.device);
        }
        self.staging.lock().expect("no thread has panicked here").upload(&self.cuda, tensor)
    }

    unsafe fn launch(&self, kernel: &str, grid: [u32; 2], threads: u32, values: &[KernelArg]) -> Result<()> {
        let Some(function) = self.functions.get(kernel) else { bail!("there is no kernel {kernel}") };
        let mut builder = self.stream.launch_builder(function);
        for value in values {
            match value {
                KernelArg::Address(v) => builder.arg(v),
                KernelArg::Int(v) => builder.arg(v),
                KernelArg::Long(v) => builder.arg(v),
                KernelArg::Float(v) => builder.arg(v),
                KernelArg::Double(v) => builder.arg(v),
            };
        }
        let config = LaunchConfig { grid_dim: (grid[0], grid[1], 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: as the caller says.
        unsafe { builder.launch(config) }.map_err(Error::wrap)?;
        Ok(())
    }

    unsafe fn convolve(&self, pass: Pass, geometry: &Geometry, x: u64, w: u64, y: u64) -> Result<bool> {
        let mut convolutions = self.convolutions.lock().expect("no thread has panicked here");
        // SAFETY: as the caller says.
        unsafe { convolutions.run(pass, geometry, [x, w, y]) }
    }
}

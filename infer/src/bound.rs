//! Input and output buffers of a session that are reused for every batch.
//!
//! A session that allocates new buffers for every batch pays for the allocation each time, and a GPU cannot copy directly from pageable
//! memory. One input and one output are therefore allocated for the shape of the windows. For GPUs they are pinned, so that the device
//! copies by DMA. Two sessions have one stream each: one copies while the other computes.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session};
use ort::value::Tensor;
use support::{Context, Result, bail};

use crate::runtime::Device;
use onnx::names::{INPUT, QUANTISED};

/// Bound input and output of a session, for batches of one shape.
pub struct Bound {
    binding: IoBinding,
    input: Tensor<u8>,
    shape: [usize; 3],
}

impl Bound {
    /// Allocates buffers for batches of `[batch, height, width]` images in memory that `device` copies from.
    pub fn new(session: &Session, device: Device, shape: [usize; 3]) -> Result<Self> {
        let [batch, height, width] = shape;
        let input = Tensor::new(&allocator(session, device, MemoryType::CPUInput)?, [batch, height, width, 3])?;
        let output = Tensor::<u8>::new(&allocator(session, device, MemoryType::CPUOutput)?, [batch, height, width])?;
        let mut binding = session.create_binding()?;
        binding.bind_output(QUANTISED, output)?;
        Ok(Self { binding, input, shape })
    }

    /// Returns `[batch, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Runs the session that the buffers were allocated for, on images `B H W C`; returns `round(255 p)`, `B H W`.
    pub fn run(&mut self, session: &mut Session, images: &[u8]) -> Result<Vec<u8>> {
        self.input.try_extract_tensor_mut::<u8>()?.1.copy_from_slice(images);
        // Binding copies the input to the device, so the pixels must be written before.
        self.binding.bind_input(INPUT, &self.input)?;
        let outputs = session.run_binding(&self.binding)?;
        self.binding.synchronize_outputs()?;
        let Some(output) = outputs.get(QUANTISED) else { bail!("the model has no output {QUANTISED:?}") };
        let (_, values) = output.try_extract_tensor::<u8>().doing(|| format!("reading the output {QUANTISED:?}"))?;
        Ok(values.to_vec())
    }
}

/// Returns an allocator of memory that both the CPU and the device access; pinned for GPUs.
fn allocator(session: &Session, device: Device, memory: MemoryType) -> Result<Allocator> {
    Ok(match device {
        Device::Cuda | Device::TensorRt => {
            let pinned = MemoryInfo::new(AllocationDevice::CUDA_PINNED, 0, AllocatorType::Device, memory)?;
            Allocator::new(session, pinned).doing(|| "allocating pinned memory")?
        }
        Device::Auto | Device::Native | Device::Cpu | Device::OpenVino => Allocator::default(),
    })
}

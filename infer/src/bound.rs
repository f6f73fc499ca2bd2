//! Buffers of a session that stay from one batch to the next.
//!
//! A session that makes new buffers for every batch pays for them every time, and a GPU cannot copy from a buffer that the system may
//! move. So images go into one input and answers come into one output, both made once for the shape of the windows; for GPUs they are
//! pinned: the device copies by itself. Two sessions have a stream each, and one copies while the other one computes.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session};
use ort::value::Tensor;
use support::{Context, Result, bail};

use crate::runtime::Device;
use onnx::names::{INPUT, QUANTISED};

/// Input and output of a session for batches of one shape.
pub struct Bound {
    binding: IoBinding,
    input: Tensor<u8>,
    shape: [usize; 3],
}

impl Bound {
    /// Buffers for batches of `[batch, height, width]` images, where `device` takes them from.
    pub fn new(session: &Session, device: Device, shape: [usize; 3]) -> Result<Self> {
        let [batch, height, width] = shape;
        let input = Tensor::new(&allocator(session, device, MemoryType::CPUInput)?, [batch, height, width, 3])?;
        let output = Tensor::<u8>::new(&allocator(session, device, MemoryType::CPUOutput)?, [batch, height, width])?;
        let mut binding = session.create_binding()?;
        binding.bind_output(QUANTISED, output)?;
        Ok(Self { binding, input, shape })
    }

    /// Images per batch, their rows and columns.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Runs the session that the buffers were made for. `images`: `B H W C`. Returns `round(255 p)`, `B H W`.
    pub fn run(&mut self, session: &mut Session, images: &[u8]) -> Result<Vec<u8>> {
        self.input.try_extract_tensor_mut::<u8>()?.1.copy_from_slice(images);
        // A device gets its copy now; what is changed afterwards it would not see.
        self.binding.bind_input(INPUT, &self.input)?;
        let outputs = session.run_binding(&self.binding)?;
        self.binding.synchronize_outputs()?;
        let Some(output) = outputs.get(QUANTISED) else { bail!("the model gave no output {QUANTISED:?}") };
        let (_, values) = output.try_extract_tensor::<u8>().doing(|| format!("reading the output {QUANTISED:?}"))?;
        Ok(values.to_vec())
    }
}

/// Of memory that the processor writes and reads, and the device, too.
fn allocator(session: &Session, device: Device, memory: MemoryType) -> Result<Allocator> {
    Ok(match device {
        Device::Cuda | Device::TensorRt => {
            let pinned = MemoryInfo::new(AllocationDevice::CUDA_PINNED, 0, AllocatorType::Device, memory)?;
            Allocator::new(session, pinned).doing(|| "asking for pinned memory")?
        }
        Device::Auto | Device::Native | Device::Cpu | Device::OpenVino => Allocator::default(),
    })
}

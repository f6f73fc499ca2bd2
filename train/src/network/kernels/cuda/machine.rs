//! What the kernels need of a device: memory, launches and convolutions. A GPU is one; the emulator of the tests is another.

use std::ffi::c_void;

use candle_core::{DType, Device, Result, Tensor};
use models::graph::Conv;

/// A value that a kernel is given.
#[derive(Clone, Copy, Debug)]
pub enum KernelArg {
    /// An address in the device's memory; 0 for nothing.
    Address(u64),
    /// `int`.
    Int(i32),
    /// `long long`.
    Long(i64),
    /// `float`.
    Float(f32),
    /// `double`.
    Double(f64),
}

impl KernelArg {
    /// Where the value stands, as launches want it.
    pub fn as_ptr(&self) -> *const c_void {
        match self {
            Self::Address(v) => std::ptr::from_ref(v).cast(),
            Self::Int(v) => std::ptr::from_ref(v).cast(),
            Self::Long(v) => std::ptr::from_ref(v).cast(),
            Self::Float(v) => std::ptr::from_ref(v).cast(),
            Self::Double(v) => std::ptr::from_ref(v).cast(),
        }
    }
}

/// Which of the three products of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// `y` from `x` and `w`.
    Forward,
    /// `x` (its gradient) from `w` and `y`.
    Data,
    /// `w` (its gradient) from `x` and `y`.
    Filter,
}

/// A convolution with zero padding `kernel / 2`: `x` is `B H W I`, `w` is `O K K I`, `y` is `B H' W' O`, all in the type of maps.
/// A kernel of 2 makes one more line and column than it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Images.
    pub batch: usize,
    /// Lines of `x`.
    pub height: usize,
    /// Columns of `x`.
    pub width: usize,
    /// Channels of `x`.
    pub inputs: usize,
    /// Channels of `y`.
    pub outputs: usize,
    /// Side of the filter.
    pub kernel: usize,
    /// Distance of windows.
    pub stride: usize,
}

impl Geometry {
    /// The convolution of a map `B H W I`.
    pub fn of(conv: &Conv, x: &Tensor) -> Result<Self> {
        let (batch, height, width, inputs) = x.dims4()?;
        assert_eq!(inputs, conv.inputs, "channels of a convolution's input");
        Ok(Self { batch, height, width, inputs, outputs: conv.outputs, kernel: conv.kernel, stride: conv.stride })
    }

    /// Lines and columns of `y`.
    pub fn result(&self) -> [usize; 2] {
        [self.height, self.width].map(|side| (side + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1)
    }
}

/// A device.
pub trait Machine: Send + Sync {
    /// Where tensors live.
    fn device(&self) -> &Device;
    /// The type of feature maps: f32 or bf16.
    fn feature_dtype(&self) -> DType;
    /// A tensor whose values are not set.
    fn empty(&self, shape: &[usize], dtype: DType) -> Result<Tensor>;
    /// The address of the first value of a contiguous tensor of this device.
    fn address(&self, tensor: &Tensor) -> Result<u64>;
    /// Brings a tensor in memory to the device.
    fn upload(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_device(self.device())
    }
    /// Starts a kernel of [`super::source`] on `grid` blocks of `threads` threads.
    ///
    /// # Safety
    /// The values must be those of the kernel's parameters, and addresses must have as much memory behind them as it reads and writes.
    unsafe fn launch(&self, kernel: &str, grid: [u32; 2], threads: u32, values: &[KernelArg]) -> Result<()>;
    /// Starts a convolution; the addresses are those of `x`, `w` and `y`. `false` if the device has no fast way to do it: nothing
    /// was done then.
    ///
    /// # Safety
    /// The addresses must have as much memory behind them as the geometry says.
    unsafe fn convolve(&self, pass: Pass, geometry: &Geometry, x: u64, w: u64, y: u64) -> Result<bool>;
}

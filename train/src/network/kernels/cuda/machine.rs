//! Interface to the device that runs the kernels: memory, launches and library convolutions. Implementations are a GPU, and the emulator of
//! the tests.

use std::ffi::c_void;

use candle_core::{DType, Device, Result, Tensor};
use models::graph::Conv;

/// Argument of a kernel launch, passed by value.
#[derive(Clone, Copy, Debug)]
pub enum KernelArg {
    /// Address in device memory; 0 for a null pointer.
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
    /// Returns a pointer to the value, as kernel launches expect it.
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

/// Pass of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Forward: `y` from `x` and `w`.
    Forward,
    /// Data gradient: `x` from `w` and `y`.
    Data,
    /// Filter gradient: `w` from `x` and `y`.
    Filter,
}

/// Geometry of a convolution with zero padding `kernel / 2`: `x` is `B H W I`, `w` is `O K K I`, `y` is `B H' W' O`, all in the type of
/// feature maps. With an even kernel, `y` has one more row and column than `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Number of images.
    pub batch: usize,
    /// Rows of `x`.
    pub height: usize,
    /// Columns of `x`.
    pub width: usize,
    /// Channels of `x`.
    pub inputs: usize,
    /// Channels of `y`.
    pub outputs: usize,
    /// Height and width of the filter.
    pub kernel: usize,
    /// Distance between neighbouring windows, in pixels.
    pub stride: usize,
}

impl Geometry {
    /// Returns the geometry of a convolution of `x`, `B H W I`.
    pub fn of(conv: &Conv, x: &Tensor) -> Result<Self> {
        let (batch, height, width, inputs) = x.dims4()?;
        assert_eq!(inputs, conv.inputs, "channels of a convolution's input");
        Ok(Self { batch, height, width, inputs, outputs: conv.outputs, kernel: conv.kernel, stride: conv.stride })
    }

    /// Returns the rows and columns of `y`.
    pub fn result(&self) -> [usize; 2] {
        [self.height, self.width].map(|side| (side + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1)
    }
}

/// Device that runs the CUDA kernels.
pub trait Machine: Send + Sync {
    /// Returns the candle device on which tensors live.
    fn device(&self) -> &Device;
    /// Returns the type of feature maps: f32 or bf16.
    fn feature_dtype(&self) -> DType;
    /// Allocates a tensor with arbitrary values.
    fn empty(&self, shape: &[usize], dtype: DType) -> Result<Tensor>;
    /// Returns the address of the first value of a contiguous tensor on this device.
    fn address(&self, tensor: &Tensor) -> Result<u64>;
    /// Uploads a tensor from host memory.
    fn upload(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_device(self.device())
    }
    /// Launches a kernel of [`super::source`] on `grid` blocks of `threads` threads.
    ///
    /// # Safety
    /// The values must match the kernel's parameters, and each address must refer to as much memory as the kernel accesses.
    unsafe fn launch(&self, kernel: &str, grid: [u32; 2], threads: u32, values: &[KernelArg]) -> Result<()>;
    /// Starts a convolution; the addresses are those of `x`, `w` and `y`. Returns `false`, without doing anything, if the device has no
    /// library algorithm for it.
    ///
    /// # Safety
    /// The addresses must refer to as much memory as the geometry states.
    unsafe fn convolve(&self, pass: Pass, geometry: &Geometry, x: u64, w: u64, y: u64) -> Result<bool>;
}

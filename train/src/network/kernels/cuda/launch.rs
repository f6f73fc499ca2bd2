//! Kernel launches: grids of blocks and threads, and kernel arguments.

use candle_core::{Result, Tensor};

use super::{Cuda, KernelArg, Machine};

/// Threads per block, `THREADS` in `cu/common.cu`.
pub const THREADS: usize = 256;
/// Maximum number of channel groups side by side in a block, as in `cu/common.cu`.
const GROUPS: usize = 32;
/// Maximum number of blocks of an elementwise kernel; with more values each thread processes several (grid-stride loop).
const BLOCKS: usize = 1 << 13;
/// Maximum number of partial sums of a reduction over rows.
const PARTS: usize = 256;

/// Argument of a kernel launch.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    /// Pointer to the values of a tensor.
    Tensor(&'a Tensor),
    /// Pointer to the values of a tensor, or a null pointer.
    Optional(Option<&'a Tensor>),
    /// Number or address passed by value.
    Scalar(KernelArg),
}

impl<'a> From<&'a Tensor> for Arg<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

impl<'a> From<Option<&'a Tensor>> for Arg<'a> {
    fn from(tensor: Option<&'a Tensor>) -> Self {
        Self::Optional(tensor)
    }
}

/// Passes a count as `long long`.
pub fn long(n: usize) -> Arg<'static> {
    Arg::Scalar(KernelArg::Long(n as i64))
}

/// Passes a count or a flag as `int`. Panics if it does not fit.
pub fn int(n: impl TryInto<i32>) -> Arg<'static> {
    Arg::Scalar(KernelArg::Int(n.try_into().ok().expect("a side or a number of channels fits an int")))
}

/// Passes a `float`.
pub fn float(v: f32) -> Arg<'static> {
    Arg::Scalar(KernelArg::Float(v))
}

/// Returns the grid of an elementwise kernel over `n` values: one value a thread up to the maximum number of blocks.
pub fn over(n: usize) -> [u32; 2] {
    [n.div_ceil(THREADS).clamp(1, BLOCKS) as u32, 1]
}

/// Launch shape of a kernel over rows of channels; a row is a pixel of an image.
pub struct Rows {
    /// Name of the kernel with its suffix (`_wide` or `_one`).
    pub kernel: String,
    /// Number of rows that a block processes at a time.
    per_pass: usize,
    /// Number of channel tiles, the second extent of the grid.
    tiles: u32,
    count: usize,
}

impl Rows {
    /// Returns a grid over all rows, with about four passes of each block.
    pub fn grid(&self) -> [u32; 2] {
        [self.count.div_ceil(4 * self.per_pass).clamp(1, BLOCKS) as u32, self.tiles]
    }

    /// Returns the rows of each partial sum and the number of partial sums. Both depend on shapes alone, and so do the bits of the sum.
    pub fn parts(&self) -> (usize, usize) {
        let chunk = self.count.div_ceil(self.count.div_ceil(8 * self.per_pass).clamp(1, PARTS));
        (chunk, self.count.div_ceil(chunk))
    }

    /// Returns the grid for [`Rows::parts`]: one block for each partial sum and channel tile.
    pub fn part_grid(&self) -> [u32; 2] {
        [self.parts().1 as u32, self.tiles]
    }
}

impl<M: Machine> Cuda<M> {
    /// Launches a kernel on blocks of [`THREADS`] threads.
    pub(super) fn run(&self, kernel: &str, grid: [u32; 2], args: &[Arg]) -> Result<()> {
        self.run_threads(kernel, grid, THREADS, args)
    }

    /// Launches a kernel on blocks of `threads` threads.
    pub(super) fn run_threads(&self, kernel: &str, grid: [u32; 2], threads: usize, args: &[Arg]) -> Result<()> {
        let value = |arg: &Arg| match arg {
            Arg::Tensor(tensor) | Arg::Optional(Some(tensor)) => Ok(KernelArg::Address(self.machine.address(tensor)?)),
            Arg::Optional(None) => Ok(KernelArg::Address(0)),
            Arg::Scalar(value) => Ok(*value),
        };
        let values = args.iter().map(value).collect::<Result<Vec<_>>>()?;
        // SAFETY: callers in this module pass the arguments that the kernel's parameters demand, and tensors of the sizes that they state.
        unsafe { self.machine.launch(kernel, grid, threads as u32, &values) }
    }

    /// Returns the number of values in one memory access (16 bytes) if it divides all these numbers of channels, else 1; and the suffix of
    /// the kernel's name.
    pub(super) fn width(&self, channels: &[usize]) -> (usize, &'static str) {
        let wide = 16 / self.machine.feature_dtype().size_in_bytes();
        if channels.iter().all(|c| c.is_multiple_of(wide)) { (wide, "wide") } else { (1, "one") }
    }

    /// Returns the launch shape of a kernel over the rows of `x`, `B H W C`.
    pub(super) fn rows(&self, kernel: &str, x: &Tensor) -> Result<Rows> {
        let channels = x.dim(3)?;
        let (width, ending) = self.width(&[channels]);
        let groups = channels / width;
        let side_by_side = groups.min(GROUPS);
        let count = x.elem_count() / channels;
        Ok(Rows {
            kernel: format!("{kernel}_{ending}"),
            per_pass: THREADS / side_by_side,
            tiles: groups.div_ceil(side_by_side) as u32,
            count,
        })
    }

    /// Allocates a feature map with arbitrary values. Fails at 2^31 values, because kernels index in 32 bits.
    pub(super) fn empty_feature(&self, shape: &[usize]) -> Result<Tensor> {
        if shape.iter().product::<usize>() >= 1 << 31 {
            candle_core::bail!(
                "a feature map of {shape:?} has 2^31 values or more, which the CUDA kernels do not index; use a smaller batch or crop"
            );
        }
        self.machine.empty(shape, self.machine.feature_dtype())
    }

    /// Allocates an f32 tensor with arbitrary values.
    pub(super) fn floats(&self, shape: &[usize]) -> Result<Tensor> {
        self.machine.empty(shape, candle_core::DType::F32)
    }
}

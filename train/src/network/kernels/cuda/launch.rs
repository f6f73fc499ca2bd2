//! How work is laid out on blocks and threads, and handed to the machine.

use candle_core::{Result, Tensor};

use super::{Cuda, Machine, KernelArg};

/// Threads of a block, as in `cu/common.cu`.
pub const THREADS: usize = 256;
/// The most groups of channels that stand side by side in a block, as in `cu/common.cu`.
const GROUPS: usize = 32;
/// The most blocks that a kernel over values is spread on; each thread then takes several.
const BLOCKS: usize = 1 << 13;
/// The most parts that a sum over rows is made of.
const PARTS: usize = 256;

/// What a kernel is given.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    /// The memory of a tensor.
    Of(&'a Tensor),
    /// The memory of a tensor, or nothing.
    Maybe(Option<&'a Tensor>),
    /// Anything else.
    Is(KernelArg),
}

impl<'a> From<&'a Tensor> for Arg<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Of(tensor)
    }
}

impl<'a> From<Option<&'a Tensor>> for Arg<'a> {
    fn from(tensor: Option<&'a Tensor>) -> Self {
        Self::Maybe(tensor)
    }
}

/// A count as `long long`.
pub fn long(n: usize) -> Arg<'static> {
    Arg::Is(KernelArg::Long(n as i64))
}

/// A count or a flag as `int`.
pub fn int(n: impl TryInto<i32>) -> Arg<'static> {
    Arg::Is(KernelArg::Int(n.try_into().ok().expect("a side or a number of channels fits an int")))
}

/// A `float`.
pub fn float(v: f32) -> Arg<'static> {
    Arg::Is(KernelArg::Float(v))
}

/// Blocks for `n` values, one a thread as far as there are enough blocks.
pub fn over(n: usize) -> [u32; 2] {
    [n.div_ceil(THREADS).clamp(1, BLOCKS) as u32, 1]
}

/// A kernel over rows of channels.
pub struct Rows {
    /// The name with its ending.
    pub kernel: String,
    /// Rows that a block passes in a go.
    rows_at_a_time: usize,
    /// Tiles of channels.
    tiles: u32,
    count: usize,
}

impl Rows {
    /// Blocks that share all rows, a few passes each.
    pub fn grid(&self) -> [u32; 2] {
        [self.count.div_ceil(4 * self.rows_at_a_time).clamp(1, BLOCKS) as u32, self.tiles]
    }

    /// Rows of a part of a sum, and the number of parts. Both depend on shapes alone, and so does the sum.
    pub fn parts(&self) -> (usize, usize) {
        let chunk = self.count.div_ceil(self.count.div_ceil(8 * self.rows_at_a_time).clamp(1, PARTS));
        (chunk, self.count.div_ceil(chunk))
    }

    /// Blocks for [`Rows::parts`].
    pub fn part_grid(&self) -> [u32; 2] {
        [self.parts().1 as u32, self.tiles]
    }
}

impl<M: Machine> Cuda<M> {
    /// Starts a kernel on blocks of [`THREADS`] threads.
    pub(super) fn run(&self, kernel: &str, grid: [u32; 2], args: &[Arg]) -> Result<()> {
        self.run_threads(kernel, grid, THREADS, args)
    }

    /// Starts a kernel.
    pub(super) fn run_threads(&self, kernel: &str, grid: [u32; 2], threads: usize, args: &[Arg]) -> Result<()> {
        let value = |arg: &Arg| match arg {
            Arg::Of(tensor) | Arg::Maybe(Some(tensor)) => Ok(KernelArg::Address(self.machine.address(tensor)?)),
            Arg::Maybe(None) => Ok(KernelArg::Address(0)),
            Arg::Is(value) => Ok(*value),
        };
        let values = args.iter().map(value).collect::<Result<Vec<_>>>()?;
        // SAFETY: callers in this module give each kernel what its parameters say, and tensors of the sizes that they name.
        unsafe { self.machine.launch(kernel, grid, threads as u32, &values) }
    }

    /// Values that are moved at a time where all these numbers of channels allow it, else 1; and the ending of the kernel's name.
    pub(super) fn width(&self, channels: &[usize]) -> (usize, &'static str) {
        let wide = 16 / self.machine.feature_dtype().size_in_bytes();
        if channels.iter().all(|c| c.is_multiple_of(wide)) { (wide, "wide") } else { (1, "one") }
    }

    /// A kernel over the rows of `x`, `B H W C`.
    pub(super) fn rows(&self, kernel: &str, x: &Tensor) -> Result<Rows> {
        let channels = x.dim(3)?;
        let (width, ending) = self.width(&[channels]);
        let groups = channels / width;
        let side_by_side = groups.min(GROUPS);
        let count = x.elem_count() / channels;
        Ok(Rows {
            kernel: format!("{kernel}_{ending}"),
            rows_at_a_time: THREADS / side_by_side,
            tiles: groups.div_ceil(side_by_side) as u32,
            count,
        })
    }

    /// A map whose values are not set.
    pub(super) fn map(&self, shape: &[usize]) -> Result<Tensor> {
        if shape.iter().product::<usize>() >= 1 << 31 {
            candle_core::bail!(
                "a feature map of {shape:?} has more values than the CUDA kernels count (2^31); a smaller batch or crop fits"
            );
        }
        self.machine.empty(shape, self.machine.feature_dtype())
    }

    /// Floats that are not set.
    pub(super) fn floats(&self, shape: &[usize]) -> Result<Tensor> {
        self.machine.empty(shape, candle_core::DType::F32)
    }
}

//! Winograd convolution F(4x4, 3x3): 3x3 kernels with stride 1, forward, backward-data and backward-weight, with a quarter of the
//! multiplications of a direct sum.
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: `Y = A^T [U * V] A`, with the transformed filter
//! `U = G g G^T` and the transformed input `V = B^T d B` (the matrices are in `matrices.rs`). `*` multiplies element by element, so that
//! each of the 36 *coefficients* of a 6x6 tile is a matrix product over channels: `[tile][input] x [input][output]`.
//!
//! | step | module |
//! |---|---|
//! | input transform `V` and output-gradient transform | `input_transform.rs` |
//! | filter transform `U`, and back for the gradient | `filter_transform.rs` |
//! | matrix products, for small and for large filters | `convolve.rs`, `weight_gradient.rs` |
//! | output transform `Y`, with the epilogue | `output_transform.rs` |
//!
//! The order of every sum depends on shapes and the instruction set alone, so that results have the same bits for any number
//! of threads.

mod convolve;
mod filter_transform;
mod input_transform;
mod matrices;
mod output_transform;
mod packed_filter;
mod target;
mod weight_gradient;

use std::ops::Range;

use models::graph::Conv;
use rayon::prelude::*;

use crate::scratch::{Buffer, Pool, SharedMut};
use crate::simd::{Isa, run_on};
pub use convolve::Logit;
use input_transform::{Coefficients, InputTransform, coefficient_stride, domain_len};
pub use input_transform::{Grid, Part};
use matrices::{COEFFICIENTS, INPUT_TILE};
pub use packed_filter::PackedFilter;
pub use target::PartBuffer;

/// A Winograd convolution over images of one size, `B H W I` to `B H W O`.
pub struct Winograd<'a> {
    /// Instruction set, from [`Isa::available`].
    pub isa: Isa,
    /// Pool of large buffers.
    pub pool: &'a Pool,
    /// Size of input and output.
    pub grid: Grid,
}

/// A packed 3x3 filter, `[panel][tap][input][16]`.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    /// Panels, see [`panels`](crate::panels).
    pub panels: &'a [f32],
    /// Input channels, a multiple of 16.
    pub inputs: usize,
    /// Output channels, a multiple of 16.
    pub outputs: usize,
    /// Rotates the kernel by 180 degrees, as backward-data needs it.
    pub rotated: bool,
}

/// Adjacent panels, one or two, that one matrix product computes.
#[derive(Clone, Copy)]
struct PanelGroup {
    /// First panel.
    panel: usize,
    /// Number of panels.
    count: usize,
}

/// Upper limit of `inputs * outputs` of a small filter, whose transform (2.25 MiB) stays in cache: tasks are blocks of tiles that use the
/// whole filter. With a larger filter, tasks are panels that use a block of tiles.
const SMALL_FILTER: usize = 16384;
/// Number of tiles per block with large filters.
const TILES_PER_BLOCK: usize = 128;

/// Reports whether the Winograd form is faster than the direct one: 3x3, stride 1, no bias, channels in multiples of 16, and tiles that
/// are at least half full.
pub fn pays(conv: &Conv, grid: &Grid) -> bool {
    let whole = conv.inputs.is_multiple_of(16) && conv.outputs.is_multiple_of(16);
    let pixels = grid.batch * grid.height * grid.width;
    conv.kernel == 3 && conv.stride == 1 && !conv.bias && whole && grid.tiles() >= 4 && 8 * grid.tiles() <= pixels
}

impl Winograd<'_> {
    /// Checks that a source has the size of the grid, its halo added.
    fn check_part(&self, part: &Part) {
        part.halo.check(self.grid.batch);
        let around = (part.halo.above + part.halo.below) * (self.grid.width >> usize::from(part.halved)) * part.channels;
        assert!(part.values.len() >= around);
        self.check(part.values.len() - around, part.channels, part.halved);
    }

    /// Checks that a feature map of `len` values has the size of the grid.
    fn check(&self, len: usize, channels: usize, halved: bool) {
        let Grid { batch, height, width } = self.grid;
        assert!(channels.is_multiple_of(16));
        assert!(!halved || (height.is_multiple_of(2) && width.is_multiple_of(2)));
        let half = usize::from(halved);
        assert_eq!(len, batch * (height >> half) * (width >> half) * channels);
    }

    /// Returns the groups of panels whose register blocks fill the registers.
    fn groups(&self, channels: usize) -> Vec<PanelGroup> {
        let panels_per_group = if self.isa == Isa::Plain { 1 } else { 2 };
        (0..channels / 16)
            .step_by(panels_per_group)
            .map(|panel| PanelGroup { panel, count: panels_per_group.min(channels / 16 - panel) })
            .collect()
    }

    /// Returns block `part` of `count` tiles; a last block is padded to a multiple of four by tiles past the last.
    fn range(&self, part: usize, count: usize) -> Range<usize> {
        let from = part * count;
        from..from + (self.grid.tiles() - from).min(count).next_multiple_of(4)
    }

    /// Transforms some tiles of all sources, in parallel, into a buffer of the pool.
    fn transform_input(&self, sources: &[Part], inputs: usize, tiles: Range<usize>) -> Buffer {
        let rows = tiles.len();
        let mut input = self.pool.take(domain_len(rows, inputs));
        let zeros = vec![0.0; inputs];
        let all = SharedMut::new(&mut input);
        (0..rows / 4).into_par_iter().for_each(|task| {
            // SAFETY: each task writes the rows of its own tiles, which lie inside the buffer.
            let first = unsafe { all.get().add(4 * task * inputs) };
            let block = tiles.start + 4 * task..tiles.start + 4 * task + 4;
            self.transform_parts(sources, &zeros, block, Coefficients { first, stride: coefficient_stride(rows, inputs), row: inputs });
        });
        input
    }

    /// Transforms some tiles of all sources into `input`, `[coefficient][tile][channel]`.
    fn transform_input_into(&self, sources: &[Part], zeros: &[f32], tiles: Range<usize>, input: &mut [f32]) {
        let inputs = sources.iter().map(|part| part.channels).sum();
        assert!(input.len() >= domain_len(tiles.len(), inputs));
        let coefficients = Coefficients { first: input.as_mut_ptr(), stride: coefficient_stride(tiles.len(), inputs), row: inputs };
        self.transform_parts(sources, zeros, tiles, coefficients);
    }

    /// Transforms some tiles of each source into the channels of the source.
    fn transform_parts(&self, sources: &[Part], zeros: &[f32], tiles: Range<usize>, coefficients: Coefficients) {
        let mut channel = 0;
        for part in sources {
            // SAFETY: rows have the channels of all sources, one source after the other.
            let first = unsafe { coefficients.first.add(channel) };
            run_on(
                self.isa,
                InputTransform {
                    grid: self.grid,
                    part: *part,
                    tiles: tiles.clone(),
                    zeros,
                    coefficients: Coefficients { first, ..coefficients },
                },
            );
            channel += part.channels;
        }
    }
}

/// Returns the number of panel groups per task with large filters: at most as many as keep all threads busy, and as many as fit 7/8 of
/// the L2 cache with their filters and products.
///
/// The number depends on the number of threads, but results do not, because each sum lies within one group.
fn groups_per_task(isa: Isa, groups: usize, inputs: usize, rows: usize) -> usize {
    let values = (filter_transform::TAPS + INPUT_TILE) * inputs * 32 + domain_len(rows, 32);
    (groups / rayon::current_num_threads()).min(isa.l2_bytes() * 7 / 32 / values).max(1)
}

/// Returns the number of tiles per task with small filters: transformed input and products of one panel group fit a quarter of the L2
/// cache, and tasks are of equal size.
fn tiles_per_task(isa: Isa, inputs: usize, outputs: usize, tiles: usize) -> usize {
    // A filter that fills the L2 cache by itself is streamed from L3, so more tiles share each pass over it.
    let share = if inputs * outputs > 12288 { 3 } else { 1 };
    let values = isa.l2_bytes() / 16 * share;
    let most = (values / (COEFFICIENTS * (inputs + 32))).clamp(12, 96);
    tiles.div_ceil(tiles.div_ceil(most)).next_multiple_of(4)
}

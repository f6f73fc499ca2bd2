//! Direct convolution through gather tables: each output pixel is the sum, over the taps of the kernel, of a source pixel's channels times
//! a weight matrix.
//!
//! The forward pass and the gradient at the input are the same loop with different tables of source pixels. This is the indirect
//! convolution of Dukhan, "The Indirect Convolution Algorithm" (2019): no window is copied, and padding points at a row of zeros.
//!
//! Every output value is summed over blocks of taps and source channels, in an order that depends on shapes and the instruction set alone,
//! so that results have the same bits for any number of threads.

mod micro_kernel;

use rayon::prelude::*;

use crate::epilogue::Epilogue;
use crate::panels;
use crate::scratch::SharedMut;
use crate::simd::{Isa, Plain};
use micro_kernel::{Scratch, Task};

/// Source index of a [`GatherTable`] that stands for a padding pixel, all of whose channels are zero.
pub const PADDING: u32 = u32::MAX;

/// A direct convolution: `out[p][o] = epilogue(sum over taps t and channels c of source[table[p][t]][c] * weights[o][t][c])`.
pub struct Gather<'a> {
    /// Source pixels, `[pixel][source_channels]`.
    pub source: &'a [f32],
    /// Channels of a source pixel.
    pub source_channels: usize,
    /// Packed weights, `[panel][tap][source_channels][16]`, see [`panels`].
    pub weights: &'a [f32],
    /// Taps of a panel.
    pub taps: usize,
    /// Channels of an output pixel.
    pub outputs: usize,
    /// Operations on every output pixel.
    pub epilogue: Epilogue<'a>,
}

/// Gather table of output pixels that use the same taps: the source pixel that each tap reads.
pub struct GatherTable {
    /// Indexes of the taps that contribute, in ascending order.
    pub taps: Vec<u32>,
    /// Index of the output pixel of each entry.
    pub pixels: Vec<u32>,
    /// `[entry][tap of this table]`: index of the source pixel, or [`PADDING`].
    pub sources: Vec<u32>,
}

impl Gather<'_> {
    /// Computes the output pixels of all `tables` into `output`, `[pixel][outputs]`.
    ///
    /// Each output pixel must be in at most one table. Pixels in none keep their values.
    ///
    /// # Panics
    /// If a length or an index does not fit the shapes.
    pub fn run(&self, isa: Isa, tables: &[GatherTable], output: &mut [f32]) {
        let zeros = vec![0.0; self.source_channels];
        let chunk = self.pixels_per_task(isa);
        let tasks: Vec<(&GatherTable, usize)> =
            tables.iter().flat_map(|table| (0..table.pixels.len()).step_by(chunk).map(move |from| (table, from))).collect();
        for table in tables {
            assert_eq!(table.sources.len(), table.pixels.len() * table.taps.len());
            let pixels = self.source.len() / self.source_channels;
            debug_assert!(table.sources.iter().all(|&s| s == PADDING || (s as usize) < pixels));
        }
        assert_eq!(self.weights.len(), panels::len(self.outputs, self.source_channels, self.taps));
        self.epilogue.check(self.outputs, output.len());
        let pixels = output.len() / self.outputs;
        let target = SharedMut::new(output);
        tasks.into_par_iter().for_each_init(Scratch::default, |scratch, (table, from)| {
            let to = (from + chunk).min(table.pixels.len());
            assert!(table.pixels[from..to].iter().all(|&p| (p as usize) < pixels));
            let task = Task { gather: self, table, from, to, zeros: &zeros, output: target };
            match isa {
                // SAFETY: `isa` comes from `Isa::available`; lengths and indexes were checked above, and each pixel belongs to one task.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => unsafe { micro_kernel::run_avx512(&task, scratch) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { micro_kernel::run_avx2(&task, scratch) },
                // SAFETY: as above; plain Rust needs no instruction set.
                Isa::Plain => unsafe { task.run::<Plain, 4, 1, 4>(scratch) },
            }
        });
    }

    /// Returns the number of pixels per task: source and output of a task fit a quarter of the L2 cache, which leaves room for a group of
    /// panels. The number depends on shapes and the instruction set alone.
    fn pixels_per_task(&self, isa: Isa) -> usize {
        let bytes = 4 * (self.source_channels + self.outputs);
        (isa.l2_bytes() / 4 / bytes).clamp(48, 1536).next_multiple_of(24)
    }
}

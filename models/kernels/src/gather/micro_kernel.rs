//! Micro-kernel of the direct convolution: a register block of output pixels x output channels, accumulated over blocks of taps and source
//! channels.

use super::{Gather, GatherTable, PADDING};
use crate::panels::WIDTH;
use crate::scratch::SharedMut;
use crate::simd::{F32x16, load_block, store_block};

/// Memory of one thread that is reused from task to task.
#[derive(Default)]
pub(super) struct Scratch {
    /// Indirection buffer: pointers to source pixels, `[tap][pixel]`.
    indirection: Vec<*const f32>,
    /// Sums of one group of panels, `[pixel][panel of the group][16]`.
    accumulators: Vec<f32>,
}

/// Entries `from..to` of one gather table.
pub(super) struct Task<'a> {
    pub gather: &'a Gather<'a>,
    pub table: &'a GatherTable,
    pub from: usize,
    pub to: usize,
    /// A padding pixel of `source_channels` zeros.
    pub zeros: &'a [f32],
    pub output: SharedMut,
}

/// Runs a task with register blocks of 12 x 32 on AVX-512.
///
/// # Safety
/// As for [`Task::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn run_avx512(task: &Task, scratch: &mut Scratch) {
    // SAFETY: the feature is enabled in this function; the rest is the caller's contract.
    unsafe { task.run::<crate::simd::Avx512, 12, 2, 12>(scratch) }
}

/// Runs a task with register blocks of 6 x 16 on AVX2.
///
/// # Safety
/// As for [`Task::run`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2(task: &Task, scratch: &mut Scratch) {
    // SAFETY: the features are enabled in this function; the rest is the caller's contract.
    unsafe { task.run::<crate::simd::Avx2, 6, 1, 6>(scratch) }
}

impl Task<'_> {
    /// Computes all panels in register blocks of `MR` pixels x `NR` panels; a last single panel runs in blocks of `MR1` pixels x 1 panel.
    ///
    /// # Safety
    /// The processor must have the instruction set of `L`. Lengths must be those that [`Gather::run`] checks, pixels must lie inside the
    /// output, and no other task may write them.
    #[inline(always)]
    pub(super) unsafe fn run<L: F32x16, const MR: usize, const NR: usize, const MR1: usize>(&self, scratch: &mut Scratch) {
        let panels = self.gather.outputs.div_ceil(WIDTH);
        self.fill_indirection(scratch);
        let pixels = self.to - self.from;
        if scratch.accumulators.len() < pixels * NR * WIDTH {
            scratch.accumulators.resize(pixels * NR * WIDTH, 0.0);
        }
        let mut panel = 0;
        while panel < panels {
            // SAFETY: the caller's contract; panels stay below `panels`.
            unsafe {
                if panels - panel >= NR {
                    self.panel_group::<L, MR, NR>(panel, scratch);
                    panel += NR;
                } else {
                    self.panel_group::<L, MR1, 1>(panel, scratch);
                    panel += 1;
                }
            }
        }
    }

    /// Fills the indirection buffer with pointers to the source pixels, `[tap][pixel]`.
    #[inline(always)]
    fn fill_indirection(&self, scratch: &mut Scratch) {
        let (taps, pixels) = (self.table.taps.len(), self.to - self.from);
        scratch.indirection.clear();
        scratch.indirection.resize(taps * pixels, self.zeros.as_ptr());
        let channels = self.gather.source_channels;
        for (i, sources) in self.table.sources[self.from * taps..self.to * taps].chunks_exact(taps).enumerate() {
            for (t, &source) in sources.iter().enumerate() {
                if source != PADDING {
                    scratch.indirection[t * pixels + i] = self.gather.source[source as usize * channels..].as_ptr();
                }
            }
        }
    }

    /// Computes `NR` panels for all pixels of the task, in blocks of the sum (taps x source channels) whose weights fit the L1 cache.
    #[inline(always)]
    unsafe fn panel_group<L: F32x16, const MR: usize, const NR: usize>(&self, panel: usize, scratch: &mut Scratch) {
        let pixels = self.to - self.from;
        let channels = self.gather.source_channels;
        let step_channels = channels.min(128);
        let step_taps = ((24 << 10) / (4 * NR * WIDTH * step_channels)).max(1);
        let taps = &self.table.taps;
        let mut first = true;
        for tap in (0..taps.len()).step_by(step_taps) {
            let block_taps = &taps[tap..(tap + step_taps).min(taps.len())];
            for channel in (0..channels).step_by(step_channels) {
                let k_block =
                    KBlock { task: self, panel, taps: block_taps, tap, channel, channels: step_channels.min(channels - channel), first };
                let mut i = 0;
                while i + MR <= pixels {
                    // SAFETY: the caller's contract; the block's pixels stay below `pixels`.
                    unsafe { k_block.micro_kernel::<L, MR, NR>(i, scratch) };
                    i += MR;
                }
                while i < pixels {
                    // SAFETY: as above.
                    unsafe { k_block.micro_kernel::<L, 1, NR>(i, scratch) };
                    i += 1;
                }
                first = false;
            }
        }
        // SAFETY: the caller's contract.
        unsafe { self.store::<L, NR>(panel, scratch) }
    }

    /// Applies the epilogue to the sums of `NR` panels and writes them to their output pixels, without the channels that only fill up the
    /// last panel.
    #[inline(always)]
    unsafe fn store<L: F32x16, const NR: usize>(&self, panel: usize, scratch: &Scratch) {
        let outputs = self.gather.outputs;
        let first = panel * WIDTH;
        let count = (NR * WIDTH).min(outputs - first);
        let is_whole = count == NR * WIDTH;
        for (accumulators, &pixel) in scratch.accumulators.chunks_exact(NR * WIDTH).zip(&self.table.pixels[self.from..self.to]) {
            let at = pixel as usize * outputs + first;
            // SAFETY: `Gather::run` checked that the pixel lies inside the output, and the pixel belongs to this task alone.
            unsafe {
                let row = self.output.get().add(at);
                if !is_whole {
                    self.gather.epilogue.apply_scalars(accumulators, first, at, std::slice::from_raw_parts_mut(row, count));
                    continue;
                }
                for n in (0..count).step_by(WIDTH) {
                    self.gather.epilogue.apply_vector(L::load(accumulators.as_ptr().add(n)), first + n, at + n).store(row.add(n));
                }
            }
        }
    }
}

/// A block of the reduction dimension: some taps and some source channels.
struct KBlock<'a> {
    task: &'a Task<'a>,
    /// First panel of the group.
    panel: usize,
    /// Taps of this block, as indexes into a panel.
    taps: &'a [u32],
    /// Position of the first of these taps in the gather table.
    tap: usize,
    /// First source channel and number of source channels.
    channel: usize,
    channels: usize,
    /// True for the first block, which overwrites the accumulators; later blocks add to them.
    first: bool,
}

impl KBlock<'_> {
    /// Accumulates this block of the sum for `MR` pixels, the `i`th of the task and those after it, x `NR` panels.
    #[inline(always)]
    unsafe fn micro_kernel<L: F32x16, const MR: usize, const NR: usize>(&self, i: usize, scratch: &mut Scratch) {
        let gather = self.task.gather;
        let pixels = self.task.to - self.task.from;
        let panel_len = gather.taps * gather.source_channels * WIDTH;
        // SAFETY: pointers of the indirection buffer have `source_channels` values behind them; weights have the length that `Gather::run`
        // checks, and `Task::run` resized the accumulators to all pixels of the task.
        unsafe {
            let accumulators = scratch.accumulators.as_mut_ptr().add(i * NR * WIDTH);
            let mut acc = [[L::zero(); NR]; MR];
            if !self.first {
                acc = load_block(accumulators, NR * WIDTH, WIDTH);
            }
            for (t, &tap) in self.taps.iter().enumerate() {
                let pointers = scratch.indirection.as_ptr().add((self.tap + t) * pixels + i).cast::<[*const f32; MR]>().read();
                let offset = (self.panel * gather.taps + tap as usize) * gather.source_channels * WIDTH;
                let mut w = gather.weights.as_ptr().add(offset + self.channel * WIDTH);
                for c in self.channel..self.channel + self.channels {
                    let mut b = [L::zero(); NR];
                    for n in 0..NR {
                        b[n] = L::load(w.add(n * panel_len));
                    }
                    for m in 0..MR {
                        let a = L::splat(pointers[m].add(c));
                        for n in 0..NR {
                            acc[m][n] = acc[m][n].plus_product(a, b[n]);
                        }
                    }
                    w = w.add(WIDTH);
                }
            }
            store_block(acc, accumulators, NR * WIDTH, WIDTH);
        }
    }
}

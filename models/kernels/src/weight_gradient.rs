//! Gradient of the weights of a direct convolution: for each tap, the outer products of source pixels and output gradients, summed over
//! pixels.

use rayon::prelude::*;

use crate::gather::PADDING;
use crate::panels::{self, WIDTH};
use crate::scratch::{Buffer, Pool, SharedMut};
use crate::simd::{F32x16, Isa, Plain, load_block, store_block};

/// A weight gradient: `dW[o][t][i] = sum over output pixels p of dy[p][o] * source[table[p][t]][i]`.
pub struct WeightGradient<'a> {
    /// Source pixels, `[pixel][inputs]`.
    pub source: &'a [f32],
    /// Channels of a source pixel.
    pub inputs: usize,
    /// Gradient at the output, `[output pixel][outputs]`.
    pub gradient: &'a [f32],
    /// Channels of an output pixel.
    pub outputs: usize,
    /// Taps of the kernel.
    pub taps: usize,
    /// Gather table of the first images, `[output pixel][tap]`: index of the source pixel, or [`PADDING`]. Further images reuse the table.
    pub sources: &'a [u32],
    /// Number of source pixels of the images in the table.
    pub source_pixels: usize,
}

/// Number of output pixels whose gradients of two panels fit the L1 cache.
const CHUNK: usize = 128;

impl WeightGradient<'_> {
    /// Returns the gradient, packed as `[panel][tap][input][16]`.
    ///
    /// Pixels are divided into partial sums by the shape alone, and partial sums are added in ascending order.
    pub fn run(&self, isa: Isa, pool: &Pool) -> Buffer {
        let pixels = self.gradient.len() / self.outputs;
        assert!(!self.sources.is_empty() && self.sources.len().is_multiple_of(self.taps));
        let padded = (!self.outputs.is_multiple_of(WIDTH)).then(|| pad_channels(pool, self.gradient, self.outputs));
        let gradient = padded.as_deref().unwrap_or(self.gradient);
        let len = panels::len(self.outputs, self.inputs, self.taps);
        // Small filters over many pixels are divided by pixels (split-K), large filters by panels and input channels.
        let parts = if len <= 1 << 15 { (pixels / 4096).clamp(1, 32) } else { 1 };
        let per_part = pixels.div_ceil(parts).next_multiple_of(CHUNK);
        let channel_blocks = if len <= 1 << 15 { 1 } else { self.inputs.div_ceil(64) };
        let partial_sum = |part: usize| {
            let mut sum = pool.zeros(len);
            let range = (part * per_part).min(pixels)..((part + 1) * per_part).min(pixels);
            self.add_pixels(isa, gradient, &range, channel_blocks, &mut sum);
            sum
        };
        let mut sums: Vec<Buffer> = (0..parts).into_par_iter().map(partial_sum).collect();
        let mut total = sums.remove(0);
        for part in sums {
            total.iter_mut().zip(&*part).for_each(|(sum, value)| *sum += value);
            pool.give(part);
        }
        padded.into_iter().for_each(|buffer| pool.give(buffer));
        total
    }

    /// Adds the gradient of the output pixels of `range` to `sum`, in tasks of two panels x one of `channel_blocks` blocks of input channels.
    fn add_pixels(&self, isa: Isa, gradient: &[f32], range: &std::ops::Range<usize>, channel_blocks: usize, sum: &mut [f32]) {
        let panel_pairs = self.outputs.div_ceil(WIDTH).div_ceil(2);
        let channels = self.inputs.div_ceil(channel_blocks);
        let target = SharedMut::new(sum);
        (0..panel_pairs * channel_blocks).into_par_iter().for_each_init(Vec::new, |table, task| {
            let from = task % channel_blocks * channels;
            let channels = from..(from + channels).min(self.inputs);
            let task = Task { problem: self, gradient, panel: task / channel_blocks * 2, channels, target };
            match isa {
                // SAFETY: `isa` comes from `Isa::available`; `Task::fill_table` checks indexes, and each task owns its panels and channels.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => unsafe { run_avx512(&task, range.clone(), table) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { run_avx2(&task, range.clone(), table) },
                // SAFETY: as above; plain Rust needs no instruction set.
                Isa::Plain => unsafe { task.run::<Plain, 4>(range.clone(), table) },
            }
        });
    }
}

/// Copies a feature map with its pixels padded to whole vectors by zeros.
fn pad_channels(pool: &Pool, values: &[f32], channels: usize) -> Buffer {
    let padded = channels.next_multiple_of(WIDTH);
    let mut out = pool.take(values.len() / channels * padded);
    out.par_chunks_mut(1024 * padded).zip(values.par_chunks(1024 * channels)).for_each(|(out, values)| {
        for (to, from) in out.chunks_exact_mut(padded).zip(values.chunks_exact(channels)) {
            to[..channels].copy_from_slice(from);
            to[channels..].fill(0.0);
        }
    });
    out
}

/// The part of a gradient that one task sums: up to two panels x some input channels, for all taps.
struct Task<'a> {
    problem: &'a WeightGradient<'a>,
    /// Output gradients, `[output pixel][outputs, padded to a multiple of 16]`.
    gradient: &'a [f32],
    /// First panel.
    panel: usize,
    /// Input channels.
    channels: std::ops::Range<usize>,
    target: SharedMut,
}

/// Runs a task with register blocks of 8 channels x 32 on AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn run_avx512(task: &Task, pixels: std::ops::Range<usize>, table: &mut Vec<PixelPair>) {
    // SAFETY: the feature is enabled in this function; the rest is the caller's contract.
    unsafe { task.run::<crate::simd::Avx512, 8>(pixels, table) }
}

/// Runs a task with register blocks of 2 channels x 32 on AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2(task: &Task, pixels: std::ops::Range<usize>, table: &mut Vec<PixelPair>) {
    // SAFETY: the features are enabled in this function; the rest is the caller's contract.
    unsafe { task.run::<crate::simd::Avx2, 2>(pixels, table) }
}

/// A source pixel, and the gradient of an output pixel to which the source pixel contributes.
#[derive(Clone, Copy)]
struct PixelPair {
    source: *const f32,
    gradient: *const f32,
}

impl Task<'_> {
    /// Sums over `pixels`, chunk by chunk and tap by tap, in register blocks of `MR` input channels.
    ///
    /// # Safety
    /// The processor must have the instruction set of `L`, and no other task may write the panels and channels of this one.
    #[inline(always)]
    unsafe fn run<L: F32x16, const MR: usize>(&self, pixels: std::ops::Range<usize>, table: &mut Vec<PixelPair>) {
        let problem = self.problem;
        let two = problem.outputs.div_ceil(WIDTH) - self.panel >= 2;
        let mut from = pixels.start;
        while from < pixels.end {
            let to = (from + CHUNK).min(pixels.end);
            for tap in 0..problem.taps {
                self.fill_table(tap, from..to, table);
                let mut channel = self.channels.start;
                // SAFETY: channels stay inside `self.channels`; the rest is the caller's contract.
                unsafe {
                    while channel + MR <= self.channels.end {
                        if two {
                            self.micro_kernel::<L, MR, 2>(tap, channel, table);
                        } else {
                            self.micro_kernel::<L, MR, 1>(tap, channel, table);
                        }
                        channel += MR;
                    }
                    while channel < self.channels.end {
                        if two {
                            self.micro_kernel::<L, 1, 2>(tap, channel, table);
                        } else {
                            self.micro_kernel::<L, 1, 1>(tap, channel, table);
                        }
                        channel += 1;
                    }
                }
            }
            from = to;
        }
    }

    /// Fills `table` with the output pixels of `range` whose source pixel under `tap` is not padding.
    #[inline(always)]
    fn fill_table(&self, tap: usize, range: std::ops::Range<usize>, table: &mut Vec<PixelPair>) {
        let problem = self.problem;
        let width = problem.outputs.next_multiple_of(WIDTH);
        table.clear();
        let pixels = problem.sources.len() / problem.taps;
        let (mut first, mut place) = (range.start / pixels * problem.source_pixels, range.start % pixels);
        for pixel in range {
            let source = problem.sources[place * problem.taps + tap];
            if source != PADDING {
                table.push(PixelPair {
                    source: problem.source[(first + source as usize) * problem.inputs..][..problem.inputs].as_ptr(),
                    gradient: self.gradient[pixel * width + self.panel * WIDTH..].as_ptr(),
                });
            }
            place += 1;
            if place == pixels {
                (place, first) = (0, first + problem.source_pixels);
            }
        }
    }

    /// Adds the outer products of the input channels `channel..channel + MR` and the gradients of `NR` panels.
    #[inline(always)]
    unsafe fn micro_kernel<L: F32x16, const MR: usize, const NR: usize>(&self, tap: usize, channel: usize, table: &[PixelPair]) {
        let problem = self.problem;
        let panel_len = problem.taps * problem.inputs * WIDTH;
        // SAFETY: pairs point at whole pixels; the target has `panels::len` values, of which these belong to this task.
        unsafe {
            let target = self.target.get().add(self.panel * panel_len + (tap * problem.inputs + channel) * WIDTH);
            let mut acc: [[L; NR]; MR] = load_block(target, WIDTH, panel_len);
            for pair in table {
                let mut b = [L::zero(); NR];
                for n in 0..NR {
                    b[n] = L::load(pair.gradient.add(n * WIDTH));
                }
                for m in 0..MR {
                    let a = L::splat(pair.source.add(channel + m));
                    for n in 0..NR {
                        acc[m][n] = acc[m][n].plus_product(a, b[n]);
                    }
                }
            }
            store_block(acc, target, WIDTH, panel_len);
        }
    }
}

//! Gradient of convolution weights: for each tap, the outer products of source pixels and output gradients, summed over pixels.

use rayon::prelude::*;

use super::gather::PADDING;
use super::panels::{self, WIDTH};
use super::scratch::{Buffer, Pool};
use super::simd::{F32x16, Isa, Plain};

/// What is summed.
pub struct Outer<'a> {
    /// `[pixel][inputs]`.
    pub source: &'a [f32],
    /// Channels of a source pixel.
    pub inputs: usize,
    /// `[output pixel][outputs]`.
    pub gradient: &'a [f32],
    /// Channels of an output pixel.
    pub outputs: usize,
    /// Taps of the kernel.
    pub taps: usize,
    /// `[output pixel][tap]` of the first images: the source pixel, or [`PADDING`]. Further images follow in the same order.
    pub sources: &'a [u32],
    /// Source pixels of those images.
    pub source_pixels: usize,
}

/// Pixels whose gradients of two panels stay in the first-level cache.
const CHUNK: usize = 128;

impl Outer<'_> {
    /// The gradient as panels. Sums run in an order that depends on the shape alone.
    pub fn run(&self, isa: Isa, pool: &Pool) -> Buffer {
        let pixels = self.gradient.len() / self.outputs;
        assert!(!self.sources.is_empty() && self.sources.len().is_multiple_of(self.taps));
        let padded = (!self.outputs.is_multiple_of(WIDTH)).then(|| pad_channels(pool, self.gradient, self.outputs));
        let gradient = padded.as_deref().unwrap_or(self.gradient);
        let len = panels::len(self.outputs, self.inputs, self.taps);
        // Small filters over many pixels are split by pixels, large ones by panels.
        let parts = if len <= 1 << 15 { (pixels / 4096).clamp(1, 32) } else { 1 };
        let per_part = pixels.div_ceil(parts).next_multiple_of(CHUNK);
        let panel_pairs = self.outputs.div_ceil(WIDTH).div_ceil(2);
        let channel_blocks = if len <= 1 << 15 { 1 } else { self.inputs.div_ceil(64) };
        let mut sums: Vec<Buffer> = (0..parts)
            .into_par_iter()
            .map(|part| {
                let range = (part * per_part).min(pixels)..((part + 1) * per_part).min(pixels);
                let mut sum = pool.zeros(len);
                let target = Target(sum.as_mut_ptr());
                (0..panel_pairs * channel_blocks).into_par_iter().for_each_init(Vec::new, |table, task| {
                    let channels = self.inputs.div_ceil(channel_blocks);
                    let from = task % channel_blocks * channels;
                    let work = Work {
                        outer: self,
                        gradient,
                        panel: task / channel_blocks * 2,
                        channels: from..(from + channels).min(self.inputs),
                        target,
                    };
                    match isa {
                        // SAFETY: `isa` comes from `Isa::available`; offsets are checked where they are looked up.
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx512 => unsafe { run_avx512(&work, range.clone(), table) },
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx2 => unsafe { run_avx2(&work, range.clone(), table) },
                        Isa::Plain => unsafe { work.run::<Plain, 4>(range.clone(), table) },
                    }
                });
                sum
            })
            .collect();
        let mut total = sums.remove(0);
        for part in sums {
            total.iter_mut().zip(&*part).for_each(|(sum, value)| *sum += value);
            pool.give(part);
        }
        padded.into_iter().for_each(|buffer| pool.give(buffer));
        total
    }
}

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

#[derive(Clone, Copy)]
struct Target(*mut f32);
// SAFETY: tasks write disjoint (panel, channel) ranges.
unsafe impl Send for Target {}
unsafe impl Sync for Target {}

impl Target {
    fn get(self) -> *mut f32 {
        self.0
    }
}

struct Work<'a> {
    outer: &'a Outer<'a>,
    gradient: &'a [f32],
    panel: usize,
    channels: std::ops::Range<usize>,
    target: Target,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn run_avx512(work: &Work, pixels: std::ops::Range<usize>, table: &mut Vec<Pair>) {
    unsafe { work.run::<super::simd::Avx512, 8>(pixels, table) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2(work: &Work, pixels: std::ops::Range<usize>, table: &mut Vec<Pair>) {
    unsafe { work.run::<super::simd::Avx2, 2>(pixels, table) }
}

/// A source pixel and the gradient of the output pixel it contributes to.
#[derive(Clone, Copy)]
struct Pair {
    source: *const f32,
    gradient: *const f32,
}

impl Work<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16, const MR: usize>(&self, pixels: std::ops::Range<usize>, table: &mut Vec<Pair>) {
        let outer = self.outer;
        let two = outer.outputs.div_ceil(WIDTH) - self.panel >= 2;
        let mut from = pixels.start;
        while from < pixels.end {
            let to = (from + CHUNK).min(pixels.end);
            for tap in 0..outer.taps {
                self.fill_table(tap, from..to, table);
                let mut channel = self.channels.start;
                unsafe {
                    while channel + MR <= self.channels.end {
                        if two {
                            self.block::<L, MR, 2>(tap, channel, table);
                        } else {
                            self.block::<L, MR, 1>(tap, channel, table);
                        }
                        channel += MR;
                    }
                    while channel < self.channels.end {
                        if two {
                            self.block::<L, 1, 2>(tap, channel, table);
                        } else {
                            self.block::<L, 1, 1>(tap, channel, table);
                        }
                        channel += 1;
                    }
                }
            }
            from = to;
        }
    }

    /// The pixels of `range` whose source under `tap` is not padding.
    #[inline(always)]
    fn fill_table(&self, tap: usize, range: std::ops::Range<usize>, table: &mut Vec<Pair>) {
        let outer = self.outer;
        let width = outer.outputs.next_multiple_of(WIDTH);
        table.clear();
        let pixels = outer.sources.len() / outer.taps;
        let (mut first, mut place) = (range.start / pixels * outer.source_pixels, range.start % pixels);
        for pixel in range {
            let source = outer.sources[place * outer.taps + tap];
            if source != PADDING {
                table.push(Pair {
                    source: outer.source[(first + source as usize) * outer.inputs..][..outer.inputs].as_ptr(),
                    gradient: self.gradient[pixel * width + self.panel * WIDTH..].as_ptr(),
                });
            }
            place += 1;
            if place == pixels {
                (place, first) = (0, first + outer.source_pixels);
            }
        }
    }

    /// Adds the products of channels `channel..channel + MR` with `NR` panels.
    #[inline(always)]
    unsafe fn block<L: F32x16, const MR: usize, const NR: usize>(&self, tap: usize, channel: usize, table: &[Pair]) {
        let outer = self.outer;
        let panel_len = outer.taps * outer.inputs * WIDTH;
        // SAFETY: pairs point at whole pixels; the target has `panels::len` values and this range belongs to this task.
        unsafe {
            let target = self.target.get().add(self.panel * panel_len + (tap * outer.inputs + channel) * WIDTH);
            let mut acc = [[L::zero(); NR]; MR];
            for m in 0..MR {
                for n in 0..NR {
                    acc[m][n] = L::load(target.add(n * panel_len + m * WIDTH));
                }
            }
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
            for m in 0..MR {
                for n in 0..NR {
                    acc[m][n].store(target.add(n * panel_len + m * WIDTH));
                }
            }
        }
    }
}

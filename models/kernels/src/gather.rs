//! Convolution as a gather: each output pixel sums, over taps, a source pixel's channels times a weight matrix.
//!
//! Forward and backward-data are the same loop with different tables of source pixels ("indirect convolution",
//! Dukhan, "The Indirect Convolution Algorithm", 2019): nothing is copied, padding points at a row of zeros.

use rayon::prelude::*;

use super::epilogue::Epilogue;
use super::panels::WIDTH;
use super::simd::{F32x16, Isa, Plain};

/// A source offset that stands for padding.
pub const PADDING: u32 = u32::MAX;

/// One convolution over pixels of `source_channels` values each.
pub struct Gather<'a> {
    /// `[pixel][source_channels]`.
    pub source: &'a [f32],
    /// Channels of a source pixel.
    pub source_channels: usize,
    /// Panels `[panel][tap][source_channels][16]`.
    pub weights: &'a [f32],
    /// Taps in a panel.
    pub taps: usize,
    /// Channels of an output pixel.
    pub outputs: usize,
    /// What is done to every output pixel.
    pub finish: Epilogue<'a>,
}

/// Output pixels that share the taps they use.
pub struct Class {
    /// Which taps of the panels contribute.
    pub taps: Vec<u32>,
    /// Which output pixel each entry is.
    pub pixels: Vec<u32>,
    /// `[pixel][tap of this class]`: the source pixel, or [`PADDING`].
    pub sources: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Output(*mut f32);
// SAFETY: every pixel stands in exactly one class entry, and each entry is written by one task.
unsafe impl Send for Output {}
unsafe impl Sync for Output {}

impl Output {
    fn get(self) -> *mut f32 {
        self.0
    }
}

impl Gather<'_> {
    /// Computes every pixel of every class; `output` is `[pixel][outputs]`, and each pixel must stand in one class.
    pub fn run(&self, isa: Isa, classes: &[Class], output: &mut [f32]) {
        let zeros = vec![0.0; self.source_channels];
        let chunk = self.pixels_per_task(isa);
        let tasks: Vec<(&Class, usize)> =
            classes.iter().flat_map(|class| (0..class.pixels.len()).step_by(chunk).map(move |from| (class, from))).collect();
        for class in classes {
            assert_eq!(class.sources.len(), class.pixels.len() * class.taps.len());
            let pixels = self.source.len() / self.source_channels;
            debug_assert!(class.sources.iter().all(|&s| s == PADDING || (s as usize) < pixels));
        }
        assert_eq!(self.weights.len(), super::panels::len(self.outputs, self.source_channels, self.taps));
        self.finish.check(self.outputs, output.len());
        let target = Output(output.as_mut_ptr());
        let pixels = output.len() / self.outputs;
        tasks.into_par_iter().for_each_init(Scratch::default, |scratch, (class, from)| {
            let to = (from + chunk).min(class.pixels.len());
            assert!(class.pixels[from..to].iter().all(|&p| (p as usize) < pixels));
            let task = Task { gather: self, class, from, to, zeros: &zeros, output: target };
            match isa {
                // SAFETY: `isa` comes from `Isa::available`; offsets were checked above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => unsafe { run_avx512(&task, scratch) },
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { run_avx2(&task, scratch) },
                Isa::Plain => unsafe { task.run::<Plain, 4, 1, 4>(scratch) },
            }
        });
    }

    /// Source and output of a task stay in the second-level cache together with a group of panels. Depends on shape and instruction set alone.
    fn pixels_per_task(&self, isa: Isa) -> usize {
        let bytes = 4 * (self.source_channels + self.outputs);
        (isa.second_level_cache() / 4 / bytes).clamp(48, 1536).next_multiple_of(24)
    }
}

#[derive(Default)]
struct Scratch {
    table: Vec<*const f32>,
    sums: Vec<f32>,
}

struct Task<'a> {
    gather: &'a Gather<'a>,
    class: &'a Class,
    from: usize,
    to: usize,
    zeros: &'a [f32],
    output: Output,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn run_avx512(task: &Task, scratch: &mut Scratch) {
    unsafe { task.run::<super::simd::Avx512, 12, 2, 12>(scratch) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2(task: &Task, scratch: &mut Scratch) {
    unsafe { task.run::<super::simd::Avx2, 6, 1, 6>(scratch) }
}

impl Task<'_> {
    /// `MR` pixels and `NR` panels at a time; a single panel that is left over runs `MR1` pixels at a time.
    #[inline(always)]
    unsafe fn run<L: F32x16, const MR: usize, const NR: usize, const MR1: usize>(&self, scratch: &mut Scratch) {
        let panels = self.gather.outputs.div_ceil(WIDTH);
        self.fill_table(scratch);
        let pixels = self.to - self.from;
        if scratch.sums.len() < pixels * NR * WIDTH {
            scratch.sums.resize(pixels * NR * WIDTH, 0.0);
        }
        let mut panel = 0;
        while panel < panels {
            unsafe {
                if panels - panel >= NR {
                    self.group::<L, MR, NR>(panel, scratch);
                    panel += NR;
                } else {
                    self.group::<L, MR1, 1>(panel, scratch);
                    panel += 1;
                }
            }
        }
    }

    /// Pointers to the source pixels, `[tap][pixel]`.
    #[inline(always)]
    fn fill_table(&self, scratch: &mut Scratch) {
        let (taps, pixels) = (self.class.taps.len(), self.to - self.from);
        scratch.table.clear();
        scratch.table.resize(taps * pixels, self.zeros.as_ptr());
        let channels = self.gather.source_channels;
        for (i, sources) in self.class.sources[self.from * taps..self.to * taps].chunks_exact(taps).enumerate() {
            for (t, &source) in sources.iter().enumerate() {
                if source != PADDING {
                    scratch.table[t * pixels + i] = self.gather.source[source as usize * channels..].as_ptr();
                }
            }
        }
    }

    /// `NR` panels for all pixels of the task, in steps of the sum whose weights fit the first-level cache.
    #[inline(always)]
    unsafe fn group<L: F32x16, const MR: usize, const NR: usize>(&self, panel: usize, scratch: &mut Scratch) {
        let pixels = self.to - self.from;
        let channels = self.gather.source_channels;
        let step_channels = channels.min(128);
        let step_taps = ((24 << 10) / (4 * NR * WIDTH * step_channels)).max(1);
        let taps = &self.class.taps;
        let mut first = true;
        for tap in (0..taps.len()).step_by(step_taps) {
            let some = &taps[tap..(tap + step_taps).min(taps.len())];
            for channel in (0..channels).step_by(step_channels) {
                let step = Step { task: self, panel, taps: some, tap, channel, channels: step_channels.min(channels - channel), first };
                let mut i = 0;
                while i + MR <= pixels {
                    unsafe { step.block::<L, MR, NR>(i, scratch) };
                    i += MR;
                }
                while i < pixels {
                    unsafe { step.block::<L, 1, NR>(i, scratch) };
                    i += 1;
                }
                first = false;
            }
        }
        unsafe { self.write_out::<L, NR>(panel, scratch) }
    }

    /// Sums of `NR` panels to their pixels, with the bias; channels past the last are dropped.
    #[inline(always)]
    unsafe fn write_out<L: F32x16, const NR: usize>(&self, panel: usize, scratch: &Scratch) {
        let outputs = self.gather.outputs;
        let first = panel * WIDTH;
        let count = (NR * WIDTH).min(outputs - first);
        let is_whole = count == NR * WIDTH;
        for (sums, &pixel) in scratch.sums.chunks_exact(NR * WIDTH).zip(&self.class.pixels[self.from..self.to]) {
            let at = pixel as usize * outputs + first;
            // SAFETY: the pixel is in range (checked in `Gather::run`) and belongs to this task alone.
            unsafe {
                let row = self.output.get().add(at);
                if !is_whole {
                    self.gather.finish.write(sums, first, at, std::slice::from_raw_parts_mut(row, count));
                    continue;
                }
                for n in (0..count).step_by(WIDTH) {
                    self.gather.finish.lanes(L::load(sums.as_ptr().add(n)), first + n, at + n).store(row.add(n));
                }
            }
        }
    }
}

/// A part of the sum: some taps, some source channels, `NR` panels.
struct Step<'a> {
    task: &'a Task<'a>,
    panel: usize,
    taps: &'a [u32],
    tap: usize,
    channel: usize,
    channels: usize,
    first: bool,
}

impl Step<'_> {
    /// Adds this part of the sum for the pixels `i..i + MR`.
    #[inline(always)]
    unsafe fn block<L: F32x16, const MR: usize, const NR: usize>(&self, i: usize, scratch: &mut Scratch) {
        let gather = self.task.gather;
        let pixels = self.task.to - self.task.from;
        let panel_len = gather.taps * gather.source_channels * WIDTH;
        // SAFETY: table entries point at `source_channels` values; panels and sums have the lengths that `Gather::run` checks.
        unsafe {
            let sums = scratch.sums.as_mut_ptr().add(i * NR * WIDTH);
            let mut acc = [[L::zero(); NR]; MR];
            if !self.first {
                for m in 0..MR {
                    for n in 0..NR {
                        acc[m][n] = L::load(sums.add((m * NR + n) * WIDTH));
                    }
                }
            }
            for (t, &tap) in self.taps.iter().enumerate() {
                let pointers = scratch.table.as_ptr().add((self.tap + t) * pixels + i).cast::<[*const f32; MR]>().read();
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
            for m in 0..MR {
                for n in 0..NR {
                    acc[m][n].store(sums.add((m * NR + n) * WIDTH));
                }
            }
        }
    }
}

//! All pairs of unit vectors, each computed once: a block of similarities serves the gradients of the vectors at both of its ends.

use std::ops::Range;

use kernels::gemm::{Gemm, OuterGemm};
use kernels::simd::run_on;
use kernels::{Buffer, Isa, Pool};
use rayon::prelude::*;

use super::sigmoid::softplus_and_slope;

/// Buffers of gradients and similarities, reused from one step to the next.
static BUFFERS: Pool = Pool::new();

/// Number of vectors in a block; the similarities of a pair of blocks stay in the second-level cache.
const BLOCK: usize = 256;
/// Number of f32 values in a SIMD register.
const LANES: usize = 16;

/// Unit vectors of two classes, padded with zeros to whole registers and to blocks that are multiples of four rows.
pub struct Pairs {
    isa: Isa,
    tau: f64,
    /// Values of a vector, and with padding.
    dim: usize,
    /// Length of a vector with padding.
    width: usize,
    /// `[row][width]`, class 0 before class 1.
    rows: Vec<f32>,
    /// Rows divided by tau and transposed to panels: `[panel][width][16 or 32 rows]`.
    columns: Vec<f32>,
    blocks: Vec<Block>,
    counts: [usize; 2],
}

/// Consecutive rows of one class.
#[derive(Clone)]
struct Block {
    class: usize,
    /// Rows including padding; their number is a multiple of 32.
    rows: Range<usize>,
    /// Number of vectors among the rows.
    count: usize,
}

impl Pairs {
    /// Packs the vectors of the two classes, `n * dim` values each.
    pub fn new(classes: [&[f32]; 2], dim: usize, tau: f64) -> Self {
        let width = dim.next_multiple_of(LANES);
        let counts = classes.map(|class| class.len() / dim);
        let (mut rows, mut blocks) = (Vec::new(), Vec::new());
        for (class, values) in classes.into_iter().enumerate() {
            for values in values.chunks(BLOCK * dim) {
                let (from, count) = (rows.len() / width, values.len() / dim);
                let to = from + count.next_multiple_of(2 * LANES);
                rows.resize(to * width, 0.0);
                for (to, values) in rows[from * width..].chunks_exact_mut(width).zip(values.chunks_exact(dim)) {
                    to[..dim].copy_from_slice(values);
                }
                blocks.push(Block { class, rows: from..to, count });
            }
        }
        let isa = Isa::best();
        let columns_per_panel = Self::vectors(isa) * LANES;
        let scale = (1.0 / tau) as f32;
        let mut columns = vec![0.0; rows.len()];
        columns.par_chunks_mut(columns_per_panel * width).zip(rows.par_chunks(columns_per_panel * width)).for_each(|(columns, rows)| {
            for (i, row) in rows.chunks_exact(width).enumerate() {
                row.iter().enumerate().for_each(|(k, v)| columns[k * columns_per_panel + i] = v * scale);
            }
        });
        Self { isa, tau, dim, width, rows, columns, blocks, counts }
    }

    /// Returns the number of SIMD registers across a panel of columns.
    fn vectors(isa: Isa) -> usize {
        if isa == Isa::Plain { 1 } else { 2 }
    }

    /// Computes the value and the gradients at the vectors of both classes. `kinds` are sign and weight of a pair within class 0, within
    /// class 1 (both for ordered pairs) and between classes; with `skip`, a vector is not paired with itself.
    pub fn run(&self, kinds: [(f32, f64); 3], skip: bool) -> (f64, [Vec<f32>; 2]) {
        let n = self.blocks.len();
        let all: Vec<(usize, usize)> = (0..n).flat_map(|i| (i..n).map(move |j| (i, j))).collect();
        // The number of parts is fixed, so that sums do not depend on the number of threads; each part holds a gradient buffer of its own.
        let parts = (200_000 / self.rows.len().div_ceil(self.width).max(1)).clamp(8, 16);
        let found: Vec<(f64, Buffer)> = (0..parts)
            .into_par_iter()
            .map(|part| {
                let mut gradient = BUFFERS.zeros(self.rows.len());
                let mut similarities = BUFFERS.take(BLOCK * BLOCK);
                let mut value = 0.0;
                for &(i, j) in &all[part * all.len() / parts..(part + 1) * all.len() / parts] {
                    value += self.pair(&self.blocks[i], &self.blocks[j], kinds, skip, &mut similarities, &mut gradient);
                }
                BUFFERS.give(similarities);
                (value, gradient)
            })
            .collect();
        let value = found.iter().map(|(value, _)| value).sum();
        let mut total = vec![0.0f32; self.rows.len()];
        total.par_chunks_mut(1 << 13).enumerate().for_each(|(chunk, total)| {
            for (_, gradient) in &found {
                total.iter_mut().zip(&gradient[chunk << 13..]).for_each(|(total, value)| *total += value);
            }
        });
        found.into_iter().for_each(|(_, gradient)| BUFFERS.give(gradient));
        (value, [0, 1].map(|class| self.unpadded(&total, class)))
    }

    /// Returns the rows of one class without their padding.
    fn unpadded(&self, padded: &[f32], class: usize) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.counts[class] * self.dim);
        for block in self.blocks.iter().filter(|block| block.class == class) {
            for row in block.rows.clone().take(block.count) {
                values.extend_from_slice(&padded[row * self.width..][..self.dim]);
            }
        }
        values
    }

    /// Returns the weighted costs of the pairs of two blocks, `b` not before `a`, and adds their gradients to `gradient`.
    fn pair(&self, a: &Block, b: &Block, kinds: [(f32, f64); 3], skip: bool, similarities: &mut [f32], gradient: &mut [f32]) -> f64 {
        let same_block = a.rows == b.rows;
        let (sign, weight) = kinds[if a.class == b.class { a.class } else { 2 }];
        // Within a class, ordered pairs count: a block paired with itself holds both orders of each pair, two different blocks hold one.
        let twice = if a.class == b.class && !same_block { 2.0 } else { 1.0 };
        let factor = (weight / self.tau * if a.class == b.class { 2.0 } else { 1.0 }) as f32;
        self.similarities(a, b, similarities);
        let columns = b.rows.len();
        let used = &mut similarities[..a.rows.len() * columns];
        let sum = if b.count == columns && !same_block {
            softplus_and_slope(self.isa, &mut used[..a.count * columns], sign, factor, None)
        } else {
            let rows = used.chunks_exact_mut(columns).take(a.count).enumerate();
            rows.map(|(i, row)| {
                row[b.count..].fill(0.0);
                softplus_and_slope(self.isa, &mut row[..b.count], sign, factor, (skip && same_block).then_some(i))
            })
            .sum()
        };
        used[a.count * columns..].fill(0.0);
        self.accumulate(a, b, similarities, !same_block, gradient);
        weight * twice * sum
    }

    /// Computes `out[i][j] = <a_i, b_j> / tau`.
    fn similarities(&self, a: &Block, b: &Block, out: &mut [f32]) {
        let (vectors, columns) = (Self::vectors(self.isa), b.rows.len());
        assert!(out.len() >= a.rows.len() * columns);
        for column in (0..columns).step_by(vectors * LANES) {
            let left = self.rows[a.rows.start * self.width..a.rows.end * self.width].as_ptr();
            let right = self.columns[(b.rows.start + column) * self.width..].as_ptr();
            let out = out[column..].as_mut_ptr();
            let plain = Gemm::contiguous(left, a.rows.len(), self.width, right, vectors, out);
            run_on(self.isa, Gemm { out_row: columns, ..plain });
        }
    }

    /// Adds `gradient_i += sum_j slopes_ij b_j` and, if `both`, `gradient_j += sum_i slopes_ij a_i`.
    fn accumulate(&self, a: &Block, b: &Block, slopes: &[f32], both: bool, gradient: &mut [f32]) {
        let (width, left) = (self.width, slopes.as_ptr());
        let (rows, columns) = (a.rows.len(), b.rows.len());
        let columns_per_panel = Self::vectors(self.isa) * LANES;
        let mut k = 0;
        while k < width {
            let vectors = (columns_per_panel.min(width - k)) / LANES;
            let right = self.packed(b, k, vectors);
            let out = gradient[a.rows.start * width + k..].as_mut_ptr();
            let plain = Gemm::contiguous(left, rows, columns, right.as_ptr(), vectors, out);
            run_on(self.isa, Gemm { add: true, out_row: width, ..plain });
            if both {
                let mut sums = vec![0.0f32; columns * vectors * LANES];
                let right = self.rows[a.rows.start * width + k..].as_ptr();
                let out = sums.as_mut_ptr();
                run_on(self.isa, OuterGemm { left, rows, columns, right, right_row: width, vectors, add: false, out });
                let to = gradient[b.rows.start * width..b.rows.end * width].chunks_exact_mut(width);
                for (to, sums) in to.zip(sums.chunks_exact(vectors * LANES)) {
                    to[k..k + sums.len()].iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
                }
            }
            k += vectors * LANES;
        }
    }

    /// Returns `vectors` registers of columns, from column `k` on, of a block's rows, packed without gaps.
    fn packed(&self, block: &Block, k: usize, vectors: usize) -> std::borrow::Cow<'_, [f32]> {
        let rows = &self.rows[block.rows.start * self.width..block.rows.end * self.width];
        if vectors * LANES == self.width {
            return rows.into();
        }
        rows.chunks_exact(self.width).flat_map(|row| row[k..k + vectors * LANES].iter().copied()).collect::<Vec<_>>().into()
    }
}

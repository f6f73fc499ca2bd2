//! Matrix products (GEMM) of packed matrices that fit a cache, computed in register blocks: `left * right` and `left^T * right`.
//!
//! The output has 16 or 32 columns, one or two vectors. A sum runs over `k` in ascending order in one accumulator.

use std::marker::PhantomData;

use crate::simd::{F32x16, SimdKernel, load_block, store_block};

/// Matrix product `out[row][n] (+)= sum over k of left[row][k] * right[k][n]`, with `n` below 16 or 32.
///
/// A row of `left` may consist of several segments, and rows may overlap, like the windows of an image.
pub struct Gemm {
    /// Left matrix, `[row][segment][inner]`, with strides `left_row` and `left_segment`.
    pub left: *const f32,
    /// Stride of the rows of `left`, in values.
    pub left_row: usize,
    /// Number of segments of a row.
    pub segments: usize,
    /// Stride of the segments of a row, in values.
    pub left_segment: usize,
    /// Number of rows, a multiple of four.
    pub rows: usize,
    /// Number of values in a segment.
    pub inner: usize,
    /// Packed right matrix, `[segment][inner][vectors][16]`.
    pub right: *const f32,
    /// Number of vectors of sixteen in a row of `right` and of `out`: 1 or 2.
    pub vectors: usize,
    /// Adds to the values of `out` if true; overwrites them otherwise.
    pub add: bool,
    /// First row of the output.
    pub out: *mut f32,
    /// Stride of the rows of `out`, in values.
    pub out_row: usize,
}

impl Gemm {
    /// Returns the product of a contiguous `left`, `[row][inner]`, that overwrites a contiguous `out`, `[row][vectors][16]`.
    pub fn contiguous(left: *const f32, rows: usize, inner: usize, right: *const f32, vectors: usize, out: *mut f32) -> Self {
        let (left_row, out_row) = (inner, 16 * vectors);
        Self { left, left_row, segments: 1, left_segment: 0, rows, inner, right, vectors, add: false, out, out_row }
    }
}

impl SimdKernel for Gemm {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        // SAFETY: the matrices have the sizes that the fields state.
        unsafe {
            if L::WIDE && self.vectors == 2 {
                return row_blocks(self.rows, true, &PanelRows::<L, 2>(&self, 0, PhantomData));
            }
            for vector in 0..self.vectors {
                row_blocks(self.rows, L::WIDE, &PanelRows::<L, 1>(&self, vector, PhantomData));
            }
        }
    }
}

/// Register block of `M` rows.
trait MicroKernel {
    /// Computes the rows `row..row + M` of the output.
    ///
    /// # Safety
    /// The matrices must have these rows.
    unsafe fn run<const M: usize>(&self, row: usize);
}

/// Covers `rows`, a multiple of four, by register blocks: of 12 and 8 rows, at most two of 4, with 32 registers (`wide`); of 6 and 4 rows
/// with 16 registers.
#[inline(always)]
unsafe fn row_blocks(rows: usize, wide: bool, kernel: &impl MicroKernel) {
    debug_assert!(rows.is_multiple_of(4));
    let (twelves, eights, sixes) = match (wide, rows % 12) {
        (true, 0) => (rows / 12, 0, 0),
        (true, 8) => (rows / 12, 1, 0),
        (true, _) if rows >= 16 => (rows / 12 - 1, 2, 0),
        (true, _) => (0, 0, 0),
        (false, rest) => (0, 0, (rows - rest) / 6),
    };
    let mut row = 0;
    // SAFETY: blocks end at or before `rows`; the rest is the caller's contract.
    unsafe {
        for _ in 0..twelves {
            kernel.run::<12>(row);
            row += 12;
        }
        for _ in 0..eights {
            kernel.run::<8>(row);
            row += 8;
        }
        for _ in 0..sixes {
            kernel.run::<6>(row);
            row += 6;
        }
        while row < rows {
            kernel.run::<4>(row);
            row += 4;
        }
    }
}

/// `N` vectors of each row of the output, from the vector of the second field on.
struct PanelRows<'a, L, const N: usize>(&'a Gemm, usize, PhantomData<L>);

impl<L: F32x16, const N: usize> MicroKernel for PanelRows<'_, L, N> {
    #[inline(always)]
    unsafe fn run<const M: usize>(&self, row: usize) {
        let Gemm { left, left_row, segments, left_segment, inner, right, vectors, add, out, out_row, .. } = *self.0;
        let vectors = if N == 1 { vectors } else { N };
        // SAFETY: the matrices have the sizes that `Gemm` states.
        unsafe {
            let (right, out) = (right.add(self.1 * 16), out.add(self.1 * 16));
            let mut sums = [[L::zero(); N]; M];
            if add {
                sums = load_block(out.add(row * out_row), out_row, 16);
            }
            let mut pointers = [left; M];
            for segment in 0..segments {
                for m in 0..M {
                    pointers[m] = left.add((row + m) * left_row + segment * left_segment);
                }
                let right = right.add(segment * inner * vectors * 16);
                for k in 0..inner {
                    let mut b = [L::zero(); N];
                    for n in 0..N {
                        b[n] = L::load(right.add((k * vectors + n) * 16));
                    }
                    for m in 0..M {
                        let a = L::splat(pointers[m].add(k));
                        for n in 0..N {
                            sums[m][n] = sums[m][n].plus_product(a, b[n]);
                        }
                    }
                }
            }
            store_block(sums, out.add(row * out_row), out_row, 16);
        }
    }
}

/// Matrix product with a transposed left matrix, a sum of outer products:
/// `out[column][n] (+)= sum over rows of left[row][column] * right[row][n]`, with `n` below 16 or 32.
pub struct OuterGemm {
    /// Left matrix, `[row][columns]`.
    pub left: *const f32,
    /// Number of rows of `left` and `right`, the length of a sum.
    pub rows: usize,
    /// Number of columns of `left`, a multiple of four.
    pub columns: usize,
    /// Right matrix.
    pub right: *const f32,
    /// Stride of the rows of `right`, in values.
    pub right_row: usize,
    /// Number of vectors of sixteen that are read of each row of `right`, and in a row of `out`: 1 or 2.
    pub vectors: usize,
    /// Adds to the values of `out` if true; overwrites them otherwise.
    pub add: bool,
    /// Output, `[column][vectors][16]`.
    pub out: *mut f32,
}

impl SimdKernel for OuterGemm {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        // SAFETY: the matrices have the sizes that the fields state.
        unsafe {
            if L::WIDE && self.vectors == 2 {
                return row_blocks(self.columns, true, &ColumnBlocks::<L, 2>(&self, 0, PhantomData));
            }
            for vector in 0..self.vectors {
                row_blocks(self.columns, L::WIDE, &ColumnBlocks::<L, 1>(&self, vector, PhantomData));
            }
        }
    }
}

/// `N` vectors of each row of the output, from the vector of the second field on.
struct ColumnBlocks<'a, L, const N: usize>(&'a OuterGemm, usize, PhantomData<L>);

impl<L: F32x16, const N: usize> MicroKernel for ColumnBlocks<'_, L, N> {
    #[inline(always)]
    unsafe fn run<const M: usize>(&self, column: usize) {
        let OuterGemm { left, rows, columns, right, right_row, vectors, add, out } = *self.0;
        let vectors = if N == 1 { vectors } else { N };
        // SAFETY: the matrices have the sizes that `OuterGemm` states.
        unsafe {
            let (right, out) = (right.add(self.1 * 16), out.add(self.1 * 16));
            let mut sums = [[L::zero(); N]; M];
            if add {
                sums = load_block(out.add(column * vectors * 16), vectors * 16, 16);
            }
            for row in 0..rows {
                let mut b = [L::zero(); N];
                for n in 0..N {
                    b[n] = L::load(right.add(row * right_row + n * 16));
                }
                let from = left.add(row * columns + column);
                for m in 0..M {
                    let a = L::splat(from.add(m));
                    for n in 0..N {
                        sums[m][n] = sums[m][n].plus_product(a, b[n]);
                    }
                }
            }
            store_block(sums, out.add(column * vectors * 16), vectors * 16, 16);
        }
    }
}

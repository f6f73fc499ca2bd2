//! Products of matrices that lie in a cache, in blocks that stay in registers.

use std::marker::PhantomData;

use crate::simd::{F32x16, Work};

/// `out[row][width] (+)= sum over k of left[row][k] * right[k][width]`, `width` being 16 or 32.
///
/// A row of `left` may lie in several segments, and rows may overlap, as windows of an image do.
pub struct Product {
    /// `[row][segment][inner]`, at the distances that follow.
    pub left: *const f32,
    /// Values from one row of `left` to the next.
    pub left_row: usize,
    /// Segments of a row.
    pub segments: usize,
    /// Values from one segment to the next.
    pub left_segment: usize,
    /// A multiple of four.
    pub rows: usize,
    /// Values of a segment.
    pub inner: usize,
    /// `[segment][inner][vectors][16]`.
    pub right: *const f32,
    /// Vectors of sixteen in a row of `right` and of `out`: 1 or 2.
    pub vectors: usize,
    /// Whether old values of `out` stay in the sum.
    pub add: bool,
    /// Where row 0 goes.
    pub out: *mut f32,
    /// Values from one row of `out` to the next.
    pub out_row: usize,
}

impl Product {
    /// A product with `left` in one piece, `[row][inner]`, whose result replaces what was there, `[row][vectors][16]`.
    pub fn plain(left: *const f32, rows: usize, inner: usize, right: *const f32, vectors: usize, out: *mut f32) -> Self {
        let (left_row, out_row) = (inner, 16 * vectors);
        Self { left, left_row, segments: 1, left_segment: 0, rows, inner, right, vectors, add: false, out, out_row }
    }
}

impl Work for Product {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        // SAFETY: the matrices have the sizes that the fields state.
        unsafe {
            if L::WIDE && self.vectors == 2 {
                return blocks(self.rows, true, &Rows::<L, 2>(&self, 0, PhantomData));
            }
            for vector in 0..self.vectors {
                blocks(self.rows, L::WIDE, &Rows::<L, 1>(&self, vector, PhantomData));
            }
        }
    }
}

/// Something done for `M` rows from a row on.
trait Block {
    unsafe fn block<const M: usize>(&self, row: usize);
}

/// Covers `rows`, a multiple of four, by blocks of 12 and 8 (few of 4) with many registers, of 6 and 4 with few.
#[inline(always)]
unsafe fn blocks(rows: usize, wide: bool, work: &impl Block) {
    debug_assert!(rows.is_multiple_of(4));
    let (twelves, eights, sixes) = match (wide, rows % 12) {
        (true, 0) => (rows / 12, 0, 0),
        (true, 8) => (rows / 12, 1, 0),
        (true, _) if rows >= 16 => (rows / 12 - 1, 2, 0),
        (true, _) => (0, 0, 0),
        (false, rest) => (0, 0, (rows - rest) / 6),
    };
    let mut row = 0;
    // SAFETY: rows stay below `rows`; the rest is the caller's promise.
    unsafe {
        for _ in 0..twelves {
            work.block::<12>(row);
            row += 12;
        }
        for _ in 0..eights {
            work.block::<8>(row);
            row += 8;
        }
        for _ in 0..sixes {
            work.block::<6>(row);
            row += 6;
        }
        while row < rows {
            work.block::<4>(row);
            row += 4;
        }
    }
}

/// `N` vectors from one of them on.
struct Rows<'a, L, const N: usize>(&'a Product, usize, PhantomData<L>);

impl<L: F32x16, const N: usize> Block for Rows<'_, L, N> {
    #[inline(always)]
    unsafe fn block<const M: usize>(&self, row: usize) {
        let Product { left, left_row, segments, left_segment, inner, right, vectors, add, out, out_row, .. } = *self.0;
        let vectors = if N == 1 { vectors } else { N };
        // SAFETY: the matrices have the sizes that `Product` states.
        unsafe {
            let (right, out) = (right.add(self.1 * 16), out.add(self.1 * 16));
            let mut sums = [[L::zero(); N]; M];
            if add {
                for m in 0..M {
                    for n in 0..N {
                        sums[m][n] = L::load(out.add((row + m) * out_row + n * 16));
                    }
                }
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
            for m in 0..M {
                for n in 0..N {
                    sums[m][n].store(out.add((row + m) * out_row + n * 16));
                }
            }
        }
    }
}

/// `out[column][width] (+)= sum over rows of left[row][column] * right[row][width]`: outer products, summed.
pub struct Outer {
    /// `[row][columns]`.
    pub left: *const f32,
    /// Length of the sum.
    pub rows: usize,
    /// Columns of `left`, a multiple of four.
    pub columns: usize,
    /// Row 0 of what is multiplied with it.
    pub right: *const f32,
    /// Values from one row of `right` to the next.
    pub right_row: usize,
    /// Vectors of sixteen that are read of a row of `right`, and in a row of `out`: 1 or 2.
    pub vectors: usize,
    /// Whether old values of `out` stay in the sum.
    pub add: bool,
    /// `[column][vectors][16]`.
    pub out: *mut f32,
}

impl Work for Outer {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        // SAFETY: the matrices have the sizes that the fields state.
        unsafe {
            if L::WIDE && self.vectors == 2 {
                return blocks(self.columns, true, &Columns::<L, 2>(&self, 0, PhantomData));
            }
            for vector in 0..self.vectors {
                blocks(self.columns, L::WIDE, &Columns::<L, 1>(&self, vector, PhantomData));
            }
        }
    }
}

/// `N` vectors from one of them on.
struct Columns<'a, L, const N: usize>(&'a Outer, usize, PhantomData<L>);

impl<L: F32x16, const N: usize> Block for Columns<'_, L, N> {
    #[inline(always)]
    unsafe fn block<const M: usize>(&self, column: usize) {
        let Outer { left, rows, columns, right, right_row, vectors, add, out } = *self.0;
        let vectors = if N == 1 { vectors } else { N };
        // SAFETY: the matrices have the sizes that `Outer` states.
        unsafe {
            let (right, out) = (right.add(self.1 * 16), out.add(self.1 * 16));
            let mut sums = [[L::zero(); N]; M];
            if add {
                for m in 0..M {
                    for n in 0..N {
                        sums[m][n] = L::load(out.add(((column + m) * vectors + n) * 16));
                    }
                }
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
            for m in 0..M {
                for n in 0..N {
                    sums[m][n].store(out.add(((column + m) * vectors + n) * 16));
                }
            }
        }
    }
}

//! Matrices of Winograd's F(4x4, 3x3): a 4x4 tile of the output from a 6x6 tile of the input, with 36 multiplications instead of 144.
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016: `Y = A^T [(G g G^T) * (B^T d B)] A`. The matrices
//! follow from polynomial products at the points 0, +-5/8, +-3/2 and infinity (Toom and Cook). With these points, which are exact in
//! binary, the rounding error is about twice that of a direct sum in f32; with the usual points 0, +-1, +-2 the error is five times that.

use crate::simd::F32x16;

/// Side of an input tile, in pixels.
pub const INPUT_TILE: usize = 6;
/// Side of an output tile, in pixels.
pub const OUTPUT_TILE: usize = 4;
/// Number of coefficients of a transformed tile, and of multiplications per tile and pair of channels.
pub const COEFFICIENTS: usize = INPUT_TILE * INPUT_TILE;

const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// Scale of the rows of `G`: the reciprocal of the derivative of the product of all `x - point` at the row's point.
const K0: f64 = 1.0 / (0.625 * 0.625 * 2.25);
const KA: f64 = 1.0 / (2.0 * 0.625 * 0.625 * (0.625 * 0.625 - 2.25));
const KB: f64 = 1.0 / (2.0 * 2.25 * (2.25 - 0.625 * 0.625));

/// Broadcasts a number to every lane.
#[inline(always)]
unsafe fn all<L: F32x16>(value: f32) -> L {
    // SAFETY: the reference is valid; the instruction set is the caller's contract.
    unsafe { L::splat(&raw const value) }
}

/// `B^T d`: six input values to six coefficients.
#[inline(always)]
pub unsafe fn input_transform<L: F32x16>(d: [L; 6]) -> [L; 6] {
    // SAFETY: arithmetic only; the instruction set is the caller's contract.
    unsafe {
        let (a, b, a2, b2) = (all::<L>(A), all::<L>(B), all::<L>(A2), all::<L>(B2));
        let (product, sum) = (all::<L>(A2 * B2), all::<L>(A2 + B2));
        let (p, q) = (d[4].minus_product(b2, d[2]), d[3].minus_product(b2, d[1]));
        let (r, s) = (d[4].minus_product(a2, d[2]), d[3].minus_product(a2, d[1]));
        [
            d[4].plus_product(product, d[0]).minus_product(sum, d[2]),
            p.plus_product(a, q),
            p.minus_product(a, q),
            r.plus_product(b, s),
            r.minus_product(b, s),
            d[5].plus_product(product, d[1]).minus_product(sum, d[3]),
        ]
    }
}

/// `A^T m`: six coefficients to four output values.
#[inline(always)]
pub unsafe fn output_transform<L: F32x16>(m: [L; 6]) -> [L; 4] {
    // SAFETY: arithmetic only; the instruction set is the caller's contract.
    unsafe {
        let (s, d) = (m[1].plus(m[2]), m[1].minus(m[2]));
        let (t, e) = (m[3].plus(m[4]), m[3].minus(m[4]));
        [
            m[0].plus(s).plus(t),
            all::<L>(A).times(d).plus_product(all(B), e),
            all::<L>(A2).times(s).plus_product(all(B2), t),
            m[5].plus_product(all(A2 * A), d).plus_product(all(B2 * B), e),
        ]
    }
}

/// `A y`: four output gradients to six coefficients.
#[inline(always)]
pub unsafe fn gradient_transform<L: F32x16>(y: [L; 4]) -> [L; 6] {
    // SAFETY: arithmetic only; the instruction set is the caller's contract.
    unsafe {
        let (even_a, odd_a) = (y[0].plus_product(all(A2), y[2]), all::<L>(A).times(y[1]).plus_product(all(A2 * A), y[3]));
        let (even_b, odd_b) = (y[0].plus_product(all(B2), y[2]), all::<L>(B).times(y[1]).plus_product(all(B2 * B), y[3]));
        [y[0], even_a.plus(odd_a), even_a.minus(odd_a), even_b.plus(odd_b), even_b.minus(odd_b), y[3]]
    }
}

/// `G g`: three taps to six coefficients.
#[inline(always)]
pub unsafe fn filter_transform<L: F32x16>(g: [L; 3]) -> [L; 6] {
    // SAFETY: arithmetic only; the instruction set is the caller's contract.
    unsafe {
        let even_a = all::<L>(KA as f32).times(g[0]).plus_product(all((KA * 0.390625) as f32), g[2]);
        let even_b = all::<L>(KB as f32).times(g[0]).plus_product(all((KB * 2.25) as f32), g[2]);
        let (odd_a, odd_b) = (all((KA * 0.625) as f32), all((KB * 1.5) as f32));
        [
            all::<L>(K0 as f32).times(g[0]),
            even_a.plus_product(odd_a, g[1]),
            even_a.minus_product(odd_a, g[1]),
            even_b.plus_product(odd_b, g[1]),
            even_b.minus_product(odd_b, g[1]),
            g[2],
        ]
    }
}

/// Row `i` of `G g`: three taps to one coefficient.
#[inline(always)]
pub unsafe fn filter_transform_row<L: F32x16>(i: usize, g: [L; 3]) -> L {
    // SAFETY: arithmetic only; the instruction set is the caller's contract.
    unsafe { all::<L>(G[i][0]).times(g[0]).plus_product(all(G[i][1]), g[1]).plus_product(all(G[i][2]), g[2]) }
}

/// `G^T u`: gradients at six coefficients to gradients at three taps.
#[inline(always)]
pub unsafe fn filter_gradient_transform<L: F32x16>(u: [L; 6]) -> [L; 3] {
    // SAFETY: arithmetic only; the instruction set is the caller's contract.
    unsafe {
        let (sum_a, difference_a) = (u[1].plus(u[2]), u[1].minus(u[2]));
        let (sum_b, difference_b) = (u[3].plus(u[4]), u[3].minus(u[4]));
        [
            all::<L>(K0 as f32).times(u[0]).plus_product(all(KA as f32), sum_a).plus_product(all(KB as f32), sum_b),
            all::<L>((KA * 0.625) as f32).times(difference_a).plus_product(all((KB * 1.5) as f32), difference_b),
            u[5].plus_product(all((KA * 0.390625) as f32), sum_a).plus_product(all((KB * 2.25) as f32), sum_b),
        ]
    }
}

/// Matrix `G`, `[coefficient][tap]`.
pub const G: [[f32; 3]; INPUT_TILE] = {
    let a = [KA as f32, (KA * 0.625) as f32, (KA * 0.390625) as f32];
    let b = [KB as f32, (KB * 1.5) as f32, (KB * 2.25) as f32];
    [[K0 as f32, 0.0, 0.0], a, [a[0], -a[1], a[2]], b, [b[0], -b[1], b[2]], [0.0, 0.0, 1.0]]
};

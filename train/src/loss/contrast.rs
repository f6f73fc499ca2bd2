//! The multiscale contrastive term (ISBI 2022, eq. 2-4): vectors of one class attract, vectors of two classes repel.
//!
//! With unit vectors and `S = <z_i, z_j> / tau`: `mean softplus(-S)` over pairs within a class and `mean softplus(S)` between
//! classes. The gradient at a vector is `sum_j slope(S_ij) z_j / tau`, so similarities are made block by block, used and
//! forgotten: memory is O(n), and no sampling is needed for size's sake.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::sigmoid::softplus_and_slope;
use super::{IGNORE, Term};
use crate::rng::Draw;

/// Which pairs attract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairRule {
    /// Both of one class (the paper's code).
    #[default]
    Same,
    /// Only both nucleus.
    And,
    /// At least one nucleus.
    Or,
}

/// How costs of pairs become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// The sum of three means: background pairs, nucleus pairs, mixed pairs (the paper's code).
    #[default]
    Sum3,
    /// One mean over all ordered pairs (eq. 4 as printed).
    PairMean,
}

/// How a term compares vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contrast {
    /// Temperature.
    pub tau: f64,
    /// Which pairs attract.
    pub pair_rule: PairRule,
    /// How costs are reduced.
    pub reduction: Reduction,
    /// Whether a vector is paired with itself.
    pub self_pairs: bool,
}

/// Value of the term and gradients at the unit vectors of both classes, row by row.
pub struct ContrastValue {
    /// The value.
    pub value: f64,
    /// At the background vectors, `n0 * dim`.
    pub gradient0: Vec<f32>,
    /// At the nucleus vectors, `n1 * dim`.
    pub gradient1: Vec<f32>,
}

/// Rows that one task owns, and columns that it meets at a time: a block of similarities stays in the second-level cache.
const ROWS: usize = 64;
const COLUMNS: usize = 1024;

/// One of the three kinds of pairs: sign of S in softplus, and weight of a pair's cost.
#[derive(Clone, Copy)]
struct Kind {
    sign: f32,
    weight: f64,
}

impl Contrast {
    /// The term over unit vectors of background (`n0 * dim`) and nucleus (`n1 * dim`).
    pub fn of_units(&self, background: &[f32], nucleus: &[f32], dim: usize) -> ContrastValue {
        let [same0, same1, mixed] = self.kinds(background.len() / dim, nucleus.len() / dim);
        let skip = !self.self_pairs;
        let mut value = 0.0;
        let mut side = |own: &[f32], other: &[f32], same: Kind| {
            let within = self.against(own, own, dim, same, skip);
            let between = self.against(own, other, dim, mixed, false);
            value += same.weight * within.0 + 0.5 * mixed.weight * between.0;
            // A pair within a class stands twice in its mean, once from each end.
            let (a, b) = ((2.0 * same.weight / self.tau) as f32, (mixed.weight / self.tau) as f32);
            within.1.iter().zip(&between.1).map(|(w, m)| a * w + b * m).collect::<Vec<f32>>()
        };
        let gradient0 = side(background, nucleus, same0);
        let gradient1 = side(nucleus, background, same1);
        ContrastValue { value, gradient0, gradient1 }
    }

    /// Kinds 00, 11 and 01 for `n0` and `n1` vectors.
    fn kinds(&self, n0: usize, n1: usize) -> [Kind; 3] {
        let pairs = |n: usize| (if self.self_pairs { n * n } else { n * n.saturating_sub(1) }) as f64;
        let (count0, count1, between) = (pairs(n0), pairs(n1), (n0 * n1) as f64);
        let attracts = match self.pair_rule {
            PairRule::Same => [true, true, false],
            PairRule::And => [false, true, false],
            PairRule::Or => [false, true, true],
        };
        let weights = match self.reduction {
            Reduction::Sum3 => [count0, count1, between].map(|n| 1.0 / n.max(1.0)),
            Reduction::PairMean => {
                let all = (count0 + count1 + 2.0 * between).max(1.0);
                [1.0 / all, 1.0 / all, 2.0 / all]
            }
        };
        std::array::from_fn(|i| Kind { sign: if attracts[i] { -1.0 } else { 1.0 }, weight: weights[i] })
    }

    /// Sum of costs of all pairs (row, column), and for each row `sum over columns (slope * column)`.
    fn against(&self, rows: &[f32], columns: &[f32], dim: usize, kind: Kind, skip_diagonal: bool) -> (f64, Vec<f32>) {
        let mut gradient = vec![0.0f32; rows.len()];
        let sums: Vec<f64> = gradient
            .par_chunks_mut(ROWS * dim)
            .zip(rows.par_chunks(ROWS * dim))
            .enumerate()
            .map_init(
                || vec![0.0f32; ROWS * COLUMNS],
                |block, (task, (gradient, rows))| {
                    let mut sum = 0.0;
                    for (part, columns) in columns.chunks(COLUMNS * dim).enumerate() {
                        let (n, m) = (rows.len() / dim, columns.len() / dim);
                        product(&mut block[..n * m], rows, columns, dim, (1.0 / self.tau) as f32);
                        for (i, row) in block[..n * m].chunks_exact_mut(m).enumerate() {
                            let own = (task * ROWS + i).checked_sub(part * COLUMNS).filter(|&j| skip_diagonal && j < m);
                            sum += softplus_and_slope(row, kind.sign, own);
                        }
                        accumulate(gradient, &block[..n * m], columns, dim);
                    }
                    sum
                },
            )
            .collect();
        (sums.iter().sum(), gradient)
    }
}

/// `block[i][j] = scale * <rows_i, columns_j>`.
fn product(block: &mut [f32], rows: &[f32], columns: &[f32], dim: usize, scale: f32) {
    let (n, m) = (rows.len() / dim, columns.len() / dim);
    assert_eq!(block.len(), n * m);
    // SAFETY: strides and lengths describe exactly the three slices.
    unsafe {
        gemm::gemm(
            n,
            m,
            dim,
            block.as_mut_ptr(),
            1,
            m as isize,
            false,
            rows.as_ptr(),
            1,
            dim as isize,
            columns.as_ptr(),
            dim as isize,
            1,
            0.0f32,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `gradient_i += sum_j block[i][j] * columns_j`.
fn accumulate(gradient: &mut [f32], block: &[f32], columns: &[f32], dim: usize) {
    let (n, m) = (gradient.len() / dim, columns.len() / dim);
    assert_eq!(block.len(), n * m);
    // SAFETY: strides and lengths describe exactly the three slices.
    unsafe {
        gemm::gemm(
            n,
            dim,
            m,
            gradient.as_mut_ptr(),
            1,
            dim as isize,
            true,
            block.as_ptr(),
            1,
            m as isize,
            columns.as_ptr(),
            1,
            dim as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The term over feature maps: vectors `z` (`B C H W`, not normalised) at the pixels labelled 0 and 1 in `labels` (`B H W`).
///
/// Of each class `min(n0, n1, max_per_class)` vectors are drawn, or with `None` all are taken. Fewer than two of a class: value 0, gradient 0.
pub fn contrast_of_maps(contrast: &Contrast, z: &Tensor, labels: &[u8], max_per_class: Option<usize>, draw: &mut Draw) -> Result<Term> {
    let (batch, channels, height, width) = z.dims4()?;
    assert_eq!(labels.len(), batch * height * width, "a label for every vector");
    let of_class = |class: u8| labels.iter().enumerate().filter(move |(_, l)| **l == class && **l != IGNORE).map(|(i, _)| i).collect();
    let (mut index0, mut index1): (Vec<usize>, Vec<usize>) = (of_class(0), of_class(1));
    if let Some(most) = max_per_class {
        let n = index0.len().min(index1.len()).min(most);
        choose(&mut index0, n, draw);
        choose(&mut index1, n, draw);
    }
    if index0.len().min(index1.len()) < 2 {
        return Ok(Term { value: 0.0, gradient: z.zeros_like()? });
    }
    let values: Vec<f32> = z.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let pixels = height * width;
    let place = |index: usize, c: usize| (index / pixels * channels + c) * pixels + index % pixels;
    let unit = |indices: &[usize]| -> (Vec<f32>, Vec<f32>) {
        let mut rows = vec![0.0; indices.len() * channels];
        let norms = rows.chunks_exact_mut(channels).zip(indices).map(|(row, &i)| {
            row.iter_mut().enumerate().for_each(|(c, v)| *v = values[place(i, c)]);
            let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32;
            row.iter_mut().for_each(|v| *v /= norm);
            norm
        });
        let norms = norms.collect();
        (rows, norms)
    };
    let ((rows0, norms0), (rows1, norms1)) = (unit(&index0), unit(&index1));
    let term = contrast.of_units(&rows0, &rows1, channels);
    let mut gradient = vec![0.0f32; values.len()];
    for (indices, rows, norms, at_units) in [(&index0, &rows0, &norms0, &term.gradient0), (&index1, &rows1, &norms1, &term.gradient1)] {
        for ((&i, norm), (u, g)) in indices.iter().zip(norms).zip(rows.chunks_exact(channels).zip(at_units.chunks_exact(channels))) {
            // d(z / |z|): what points along the unit vector is lost.
            let along: f32 = u.iter().zip(g).map(|(u, g)| u * g).sum();
            for c in 0..channels {
                gradient[place(i, c)] = (g[c] - u[c] * along) / norm;
            }
        }
    }
    let gradient = Tensor::from_vec(gradient, z.shape(), &Device::Cpu)?.to_device(z.device())?.to_dtype(z.dtype())?;
    Ok(Term { value: term.value, gradient })
}

/// Keeps `n` indices drawn at random.
fn choose(indices: &mut Vec<usize>, n: usize, draw: &mut Draw) {
    for i in 0..n {
        let j = i + draw.below(indices.len() - i);
        indices.swap(i, j);
    }
    indices.truncate(n);
}

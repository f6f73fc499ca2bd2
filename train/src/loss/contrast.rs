//! Multiscale contrastive regularisation (Oh, Lee and Jeong, ISBI 2022, arXiv 2306.14136), equations 2 to 4: vectors of one class attract
//! each other, vectors of two classes repel each other.
//!
//! With unit vectors and `S_ij = <z_i, z_j> / tau`, the term is `mean softplus(-S)` over the pairs within each class plus `mean
//! softplus(S)` over the pairs between the classes. The gradient at a vector is `sum_j slope(S_ij) z_j / tau`. Similarities are computed
//! block by block and never stored (`pairs.rs`), so that memory is O(n) and sampling is not needed to save memory.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::pairs::Pairs;
use super::{LossValue, Term};
use crate::config::{MaxPerClass, PairRule, Reduction, Scope, Unbounded};
use crate::network::kernels::{ContrastGroup, Fused, Kernels, f32s};
use crate::rng::CounterRng;

/// Number of labels that one parallel task scans.
const PIXELS_PER_TASK: usize = 1 << 14;

/// Settings of the pairwise comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrast {
    /// Temperature tau, which divides cosine similarities.
    pub tau: f64,
    /// Kinds of pairs that attract each other.
    pub pair_rule: PairRule,
    /// Reduction of the costs of all pairs to one value.
    pub reduction: Reduction,
    /// True if pairs of a vector with itself count.
    pub self_pairs: bool,
}

/// Value of the term, and gradients at the unit vectors of both classes, row by row.
pub struct ContrastValue {
    /// Value of the term.
    pub value: f64,
    /// Gradient at the background vectors, `n0 * dim`.
    pub gradient0: Vec<f32>,
    /// Gradient at the nucleus vectors, `n1 * dim`.
    pub gradient1: Vec<f32>,
}

/// Sign of the similarity in softplus, and weight of a pair's cost, for one of the three kinds of pairs.
#[derive(Clone, Copy)]
struct PairKind {
    sign: f32,
    weight: f64,
}

impl Contrast {
    /// Computes the term over unit vectors of background (`n0 * dim`) and of nuclei (`n1 * dim`).
    pub fn of_units(&self, background: &[f32], nucleus: &[f32], dim: usize) -> ContrastValue {
        let kinds = self.kinds(background.len() / dim, nucleus.len() / dim);
        let pairs = Pairs::new([background, nucleus], dim, self.tau);
        let (value, [gradient0, gradient1]) = pairs.run(kinds.map(|kind| (kind.sign, kind.weight)), !self.self_pairs);
        ContrastValue { value, gradient0, gradient1 }
    }

    /// Returns sign and weight of pairs within class 0, within class 1 and between classes, for `n0` and `n1` vectors.
    fn kinds(&self, n0: usize, n1: usize) -> [PairKind; 3] {
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
        std::array::from_fn(|i| PairKind { sign: if attracts[i] { -1.0 } else { 1.0 }, weight: weights[i] })
    }
}

/// Computes the term over feature maps in host memory: vectors `z` (`B C H W`, not normalised) at the pixels labelled 0 and 1 in `labels`
/// (`B H W`).
///
/// A group (the batch, or each image) with fewer than two vectors of a class is skipped; the value is the mean over the other groups.
/// Without any group, value and gradient are 0.
///
/// The gradient is that of `weight` times the term. It lies channels last in memory.
pub fn contrast_of_features(
    contrast: &Contrast,
    z: &Tensor,
    labels: &[u8],
    sampling: Sampling,
    weight: f64,
    rng: &mut CounterRng,
) -> Result<Term> {
    let (batch, channels, height, width) = z.dims4()?;
    let groups = groups(z, labels, sampling, rng)?;
    let z32 = z.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    // Channels last costs no copy if the kernels keep feature maps in this order.
    let pixels = z32.permute((0, 2, 3, 1))?.contiguous()?;
    let values = f32s(&pixels)?;
    // The zeros are written here, because pages that the system only reserves would fault twice: at the first read and at the first write.
    let mut gradient: Vec<f32> = std::iter::repeat_n(0.0, values.len()).collect();
    let mut value = 0.0;
    for [zeros, ones] in &groups {
        let (units0, units1) = (unit_vectors(&values, channels, zeros), unit_vectors(&values, channels, ones));
        let term = contrast.of_units(&units0.rows, &units1.rows, channels);
        let group_weight = 1.0 / groups.len() as f32;
        value += term.value * f64::from(group_weight);
        scatter(channels, zeros, &units0, &term.gradient0, group_weight * weight as f32, &mut gradient);
        scatter(channels, ones, &units1, &term.gradient1, group_weight * weight as f32, &mut gradient);
    }
    let gradient = Tensor::from_vec(gradient, (batch, height, width, channels), &Device::Cpu)?.permute((0, 3, 1, 2))?;
    Ok(Term { value, gradient: gradient.to_device(z.device())?.to_dtype(z.dtype())? })
}

/// Computes [`contrast_of_features`], on the device if its kernels are fused and support the vector length. The value may still be computed
/// asynchronously.
pub fn contrast_on(
    kernels: &dyn Kernels,
    contrast: &Contrast,
    z: &Tensor,
    labels: &[u8],
    sampling: Sampling,
    weight: f64,
    rng: &mut CounterRng,
) -> Result<(LossValue, Tensor)> {
    match kernels.fused() {
        Some(fused) if z.dim(1)? <= fused.max_vector_len() => on_device(fused, contrast, z, &groups(z, labels, sampling, rng)?, weight),
        _ => {
            let term = contrast_of_features(contrast, z, labels, sampling, weight, rng)?;
            Ok((LossValue::Host(term.value), term.gradient))
        }
    }
}

fn on_device(fused: &dyn Fused, contrast: &Contrast, z: &Tensor, groups: &[[Vec<usize>; 2]], weight: f64) -> Result<(LossValue, Tensor)> {
    let group_weight = 1.0 / groups.len() as f64;
    let vectors = |[zeros, ones]: &[Vec<usize>; 2]| ContrastGroup {
        rows: zeros.iter().chain(ones).map(|&i| i as u32).collect(),
        zeros: zeros.len(),
        kinds: contrast.kinds(zeros.len(), ones.len()).map(|kind| (kind.sign, kind.weight)),
        tau: contrast.tau,
        skip_self: !contrast.self_pairs,
        gradient_weight: (group_weight * weight) as f32,
    };
    let (values, gradient) = fused.contrast(z, &groups.iter().map(vectors).collect::<Vec<_>>())?;
    Ok((LossValue::WeightedSum(values.into_iter().map(|value| (group_weight, LossValue::Device(value))).collect()), gradient))
}

/// Returns the sampled positions of the vectors of both classes, for each group that has at least two of each.
fn groups(z: &Tensor, labels: &[u8], sampling: Sampling, rng: &mut CounterRng) -> Result<Vec<[Vec<usize>; 2]>> {
    let (batch, _, height, width) = z.dims4()?;
    assert_eq!(labels.len(), batch * height * width, "expected one label per vector");
    let images_in_group = match sampling.scope {
        Scope::Batch => batch,
        Scope::Image => 1,
    };
    let per_group = images_in_group * height * width;
    let groups = labels
        .chunks(per_group)
        .enumerate()
        .map(|(group, labels)| [0, 1].map(|class| pixels_of_class(labels, class, group * per_group)))
        .map(|classes| sampling.choose(classes, rng))
        .filter(|[zeros, ones]| zeros.len().min(ones.len()) >= 2);
    Ok(groups.collect())
}

fn pixels_of_class(labels: &[u8], class: u8, first: usize) -> Vec<usize> {
    labels.par_iter().enumerate().with_min_len(PIXELS_PER_TASK).filter(|(_, label)| **label == class).map(|(i, _)| first + i).collect()
}

/// Sampling of the vectors that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Number of vectors of each class.
    pub max_per_class: MaxPerClass,
    /// Scope of a pair: both vectors come from the batch, or from one image.
    pub scope: Scope,
}

impl Sampling {
    fn choose(&self, mut classes: [Vec<usize>; 2], rng: &mut CounterRng) -> [Vec<usize>; 2] {
        let even = classes[0].len().min(classes[1].len());
        let n = match self.max_per_class {
            MaxPerClass::Limit(most) => even.min(most),
            MaxPerClass::Unbounded(Unbounded::Even) => even,
            MaxPerClass::Unbounded(Unbounded::None) => return classes,
        };
        for indices in &mut classes {
            for i in 0..n.min(indices.len().saturating_sub(1)) {
                let j = i + rng.below(indices.len() - i);
                indices.swap(i, j);
            }
            indices.truncate(n);
        }
        classes
    }
}

/// Unit vectors, row by row, and the norms that were divided out.
struct UnitVectors {
    rows: Vec<f32>,
    norms: Vec<f32>,
}

/// Normalises the vectors at these pixels of `[pixel][channel]`: `z / max(|z|, 1e-12)`.
fn unit_vectors(values: &[f32], channels: usize, indices: &[usize]) -> UnitVectors {
    let mut rows = vec![0.0; indices.len() * channels];
    let norms = rows.chunks_exact_mut(channels).zip(indices).map(|(row, &i)| {
        row.copy_from_slice(&values[i * channels..][..channels]);
        let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32;
        row.iter_mut().for_each(|v| *v /= norm);
        norm
    });
    let norms = norms.collect();
    UnitVectors { rows, norms }
}

/// Backpropagates gradients at unit vectors through the normalisation, which removes the component along the vector, and scatters them to
/// the pixels.
fn scatter(channels: usize, indices: &[usize], units: &UnitVectors, at_units: &[f32], group_weight: f32, gradient: &mut [f32]) {
    let rows = units.rows.chunks_exact(channels).zip(at_units.chunks_exact(channels));
    for ((&i, norm), (u, g)) in indices.iter().zip(&units.norms).zip(rows) {
        let along: f32 = u.iter().zip(g).map(|(u, g)| u * g).sum();
        for (c, to) in gradient[i * channels..][..channels].iter_mut().enumerate() {
            *to += group_weight * (g[c] - u[c] * along) / norm;
        }
    }
}

//! Cross-entropy and the contrastive term against golden vectors, values in closed form and a dense reference in f64.

use crate::support::reference;

use crate::support::reference::{Vectors, assert_close, difference, f64s, scalar, u8s, vectors};
use candle_core::Tensor;
use train::config::{MaxPerClass, PairRule, Reduction, Scope, Unbounded};
use train::loss::{Contrast, Sampling, block_labels, contrast_of_features, cross_entropy};
use train::rng::CounterRng;

fn indices(tensor: &Tensor) -> Vec<usize> {
    f64s(tensor).into_iter().map(|v| v as usize).collect()
}

#[test]
fn cross_entropy_ignores_unlabelled_pixels_and_never_overflows() {
    let golden = vectors("losses");
    for case in ["plain", "extreme", "one_pixel", "all_ignored", "none_ignored"] {
        let of = |what: &str| &golden[&format!("{case}.{what}")];
        let term = cross_entropy(of("logits"), of("labels")).unwrap();
        let expected = scalar(of("loss"));
        assert!((term.value - expected).abs() <= 1e-5 * expected, "{case}: {} instead of {expected}", term.value);
        assert_close(case, &term.gradient, of("dlogits"), 1e-5);
    }
}

/// Lists the golden cases of one block size `delta`: prefix of the sampled indices, key of the expected values, configuration of the term.
fn cases(golden: &Vectors, delta: &str) -> Vec<(String, String, Contrast)> {
    let mut cases = Vec::new();
    let tau = if delta == "d1" { 0.3 } else { 0.1 };
    for draw in ["all", "even"] {
        for (reduction, r) in [("sum3", Reduction::Sum3), ("pair_mean", Reduction::PairMean)] {
            for (rule, p) in [("same", PairRule::Same), ("and", PairRule::And), ("or", PairRule::Or)] {
                for (own, self_pairs) in [("noself", false), ("self", true)] {
                    let key = format!("{delta}.{draw}.{reduction}.{rule}.{own}");
                    if golden.contains_key(&format!("{key}.loss")) {
                        let contrast = Contrast { tau, pair_rule: p, reduction: r, self_pairs };
                        cases.push((format!("{delta}.{draw}"), key, contrast));
                    }
                }
            }
        }
    }
    assert_eq!(cases.len(), 12, "cases of {delta}");
    cases
}

/// Returns the feature vectors of `z` (`B C H W`) at flat (b, h, w) indices, scaled to unit length.
fn units(z: &Tensor, indices: &[usize]) -> Vec<f32> {
    let (_, channels, h, w) = z.dims4().unwrap();
    let values = f64s(z);
    let rows = indices.iter().flat_map(|i| {
        let row: Vec<f64> = (0..channels).map(|c| values[(i / (h * w) * channels + c) * h * w + i % (h * w)]).collect();
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
        row.into_iter().map(move |v| (v / norm) as f32)
    });
    rows.collect()
}

#[test]
fn the_contrastive_term_of_unit_vectors_equals_the_golden_vectors_in_every_variant() {
    let golden = vectors("contrast");
    for delta in ["d1", "d4"] {
        let z = &golden[&format!("{delta}.z")];
        for (draw, key, contrast) in cases(&golden, delta) {
            let rows = [0, 1].map(|class| units(z, &indices(&golden[&format!("{draw}.index{class}")])));
            let found = contrast.of_units(&rows[0], &rows[1], 32);
            let expected = scalar(&golden[&format!("{key}.loss")]);
            assert!((found.value - expected).abs() <= 1e-5 * expected.abs(), "{key}: {} instead of {expected}", found.value);
            let units: Vec<f32> = rows.concat();
            let gradient: Vec<f64> = found.gradient0.iter().chain(&found.gradient1).map(|v| f64::from(*v)).collect();
            let all: Vec<usize> = [0, 1].iter().flat_map(|class| indices(&golden[&format!("{draw}.index{class}")])).collect();
            let at_rows: Vec<f64> = through_normalisation(&gradient, &units, &norms(z, &all));
            for (kind, gradient) in [("dunit", gradient), ("drows", at_rows)] {
                if let Some(expected) = golden.get(&format!("{key}.{kind}")) {
                    let (worst, scale) = difference(&gradient, &f64s(expected));
                    assert!(worst <= 1e-4 * scale, "{key}.{kind}: off by {:.1e}", worst / scale);
                }
            }
            assert!(golden.contains_key(&format!("{key}.drows")));
        }
    }
}

/// Returns the lengths of the feature vectors of `z` at flat (b, h, w) indices.
fn norms(z: &Tensor, indices: &[usize]) -> Vec<f64> {
    let (_, channels, h, w) = z.dims4().unwrap();
    let values = f64s(z);
    let square = |i: &usize| (0..channels).map(|c| values[(i / (h * w) * channels + c) * h * w + i % (h * w)].powi(2)).sum::<f64>();
    indices.iter().map(|i| square(i).sqrt()).collect()
}

/// Carries gradients with respect to unit vectors back to the unscaled vectors: `(g - u <u, g>) / |z|` for every row.
fn through_normalisation(gradient: &[f64], units: &[f32], norms: &[f64]) -> Vec<f64> {
    let rows = gradient.chunks_exact(32).zip(units.chunks_exact(32)).zip(norms);
    rows.flat_map(|((g, u), norm)| {
        let along: f64 = g.iter().zip(u).map(|(g, u)| g * f64::from(*u)).sum();
        g.iter().zip(u).map(move |(g, u)| (g - f64::from(*u) * along) / norm)
    })
    .collect()
}

#[test]
fn the_contrastive_term_of_features_selects_the_labelled_vectors_and_differentiates_through_their_normalisation() {
    let golden = vectors("contrast");
    for delta in ["d1", "d4"] {
        let z = &golden[&format!("{delta}.z")];
        let labels = u8s(&golden[&format!("{delta}.labels")]);
        let sampling = Sampling { max_per_class: MaxPerClass::Unbounded(Unbounded::None), scope: Scope::Batch };
        for (draw, key, contrast) in cases(&golden, delta).into_iter().filter(|(draw, ..)| draw.ends_with("all")) {
            let term = contrast_of_features(&contrast, z, &labels, sampling, 1.0, &mut CounterRng::new(0, "test", 0, 0, 0)).unwrap();
            let expected = scalar(&golden[&format!("{key}.loss")]);
            assert!((term.value - expected).abs() <= 1e-5 * expected.abs(), "{key}");
            let mut at_rows = Vec::new();
            let gradient = f64s(&term.gradient);
            let (_, channels, h, w) = z.dims4().unwrap();
            for class in 0..2 {
                for i in indices(&golden[&format!("{draw}.index{class}")]) {
                    at_rows.extend((0..channels).map(|c| gradient[(i / (h * w) * channels + c) * h * w + i % (h * w)]));
                }
            }
            let (worst, scale) = difference(&at_rows, &f64s(&golden[&format!("{key}.drows")]));
            assert!(worst <= 1e-4 * scale, "{key}: gradient off by {:.1e}", worst / scale);
            let elsewhere = gradient.iter().map(|v| v.abs()).sum::<f64>() - at_rows.iter().map(|v| v.abs()).sum::<f64>();
            assert!(elsewhere.abs() <= 1e-9 * gradient.len() as f64, "{key}: gradients where there is no label");
        }
    }
}

#[test]
fn the_contrastive_term_has_its_closed_form_values() {
    let contrast = |tau| Contrast { tau, pair_rule: PairRule::Same, reduction: Reduction::Sum3, self_pairs: false };
    // With all cosines 0 the term is 3 ln 2: the unit vectors of 32 axes, half of them labelled background.
    let axes: Vec<f32> = (0..32).flat_map(|i| (0..32).map(move |j| if i == j { 1.0 } else { 0.0 })).collect();
    let (background, nucleus) = axes.split_at(16 * 32);
    assert!((contrast(0.3).of_units(background, nucleus, 32).value - 3.0 * 2f64.ln()).abs() < 1e-6);
    // Two antipodal clusters have pairs of cosine 1 within a class and -1 between the classes.
    let cluster = |v: f32| (0..50).flat_map(|_| [v, 0.0]).collect::<Vec<f32>>();
    for (tau, expected) in [(0.3, 0.10516), (0.1, 1.362e-4)] {
        let value = contrast(tau).of_units(&cluster(1.0), &cluster(-1.0), 2).value;
        assert!((value - expected).abs() < 1e-4 * expected, "{value}");
    }
}

#[test]
fn the_contrastive_term_over_many_blocks_equals_a_dense_f64_reference() {
    let (n0, n1, dim, tau) = (1100usize, 1500usize, 5usize, 0.3f64);
    let rows = |name: &str, n: usize| -> Vec<f32> {
        let raw = reference::u(5, name, n * dim);
        raw.chunks_exact(dim)
            .flat_map(|r| {
                let norm = r.iter().map(|v| v * v).sum::<f64>().sqrt();
                r.iter().map(move |v| (v / norm) as f32)
            })
            .collect()
    };
    let (a, b) = (rows("a", n0), rows("b", n1));
    let s = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(p, q)| f64::from(*p) * f64::from(*q)).sum::<f64>() / tau;
    let softplus = |v: f64| v.max(0.0) + (-v.abs()).exp().ln_1p();
    let same = |m: &[f32]| {
        let n = m.len() / dim;
        let mut sum = 0.0;
        for i in 0..n {
            for j in (0..n).filter(|&j| j != i) {
                sum += softplus(-s(&m[i * dim..][..dim], &m[j * dim..][..dim]));
            }
        }
        sum / (n * (n - 1)) as f64
    };
    let mixed = a.chunks_exact(dim).map(|x| b.chunks_exact(dim).map(|y| softplus(s(x, y))).sum::<f64>()).sum::<f64>() / (n0 * n1) as f64;
    let expected = same(&a) + same(&b) + mixed;
    let contrast = Contrast { tau, pair_rule: PairRule::Same, reduction: Reduction::Sum3, self_pairs: false };
    let found = contrast.of_units(&a, &b, dim);
    assert!((found.value - expected).abs() < 1e-6 * expected, "{} instead of {expected}", found.value);
    // Background vector 1090 lies beyond the first block, so its gradient sums over several blocks.
    let i = 1090;
    for d in 0..dim {
        let x = &a[i * dim..][..dim];
        let within: f64 =
            a.chunks_exact(dim).enumerate().filter(|(j, _)| *j != i).map(|(_, y)| -f64::from(y[d]) / (1.0 + s(x, y).exp())).sum();
        let between: f64 = b.chunks_exact(dim).map(|y| f64::from(y[d]) / (1.0 + (-s(x, y)).exp())).sum();
        let expected = (2.0 * within / (n0 * (n0 - 1)) as f64 + between / (n0 * n1) as f64) / tau;
        let found = f64::from(found.gradient0[i * dim + d]);
        assert!((found - expected).abs() < 1e-4 * expected.abs().max(1e-6), "{found} instead of {expected}");
    }
}

#[test]
fn a_block_has_a_label_only_if_all_its_pixels_have_it() {
    let golden = vectors("contrast");
    let pixels = &golden["d4.pixel_labels"];
    let (b, h, w) = pixels.dims3().unwrap();
    assert_eq!(block_labels(&u8s(pixels), b, h, w, 4), u8s(&golden["d4.labels"]));
}

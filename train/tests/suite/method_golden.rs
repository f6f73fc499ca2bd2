//! Losses, contrastive term, projection heads, pseudo-labels and optimiser against PyTorch's f64 results;
//! tolerances as in `tests/data/golden/README.md`.

use crate::support::reference;
use std::sync::Arc;

use crate::support::reference::{Vectors, assert_close, difference, f64s, scalar, seed, summary_deviation, vectors};
use candle_core::{DType, Device, Tensor};
use models::unet::projection;
use train::config::{MaxPerClass, PairRule, Reduction, Scope, Unbounded};
use train::loss::{Contrast, Sampling, block_labels, contrast_of_features, cross_entropy};
use train::network::kernels::{Cpu, Kernels, Reference};
use train::network::{Mode, Network};
use train::optimizer::{RAdam, Rate};
use train::pseudo_labels::PseudoLabels;
use train::rng::CounterRng;

fn u8s(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn indices(tensor: &Tensor) -> Vec<usize> {
    f64s(tensor).into_iter().map(|v| v as usize).collect()
}

#[test]
fn cross_entropy_ignores_what_is_unlabelled_and_never_overflows() {
    let golden = vectors("losses");
    for case in ["plain", "extreme", "one_pixel", "all_ignored", "none_ignored"] {
        let of = |what: &str| &golden[&format!("{case}.{what}")];
        let term = cross_entropy(of("logits"), of("labels")).unwrap();
        let expected = scalar(of("loss"));
        assert!((term.value - expected).abs() <= 1e-5 * expected, "{case}: {} instead of {expected}", term.value);
        assert_close(case, &term.gradient, of("dlogits"), 1e-5);
    }
}

/// Cases of one delta: `(draw, reduction, rule, self pairs)` with the key of their vectors.
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

/// Rows of `z` (`B C H W`) at flat (b, h, w) indices, as unit vectors.
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
fn contrast_of_unit_vectors_in_every_variant() {
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

/// Lengths of the rows of `z` at flat (b, h, w) indices.
fn norms(z: &Tensor, indices: &[usize]) -> Vec<f64> {
    let (_, channels, h, w) = z.dims4().unwrap();
    let values = f64s(z);
    let square = |i: &usize| (0..channels).map(|c| values[(i / (h * w) * channels + c) * h * w + i % (h * w)].powi(2)).sum::<f64>();
    indices.iter().map(|i| square(i).sqrt()).collect()
}

/// `(g - u <u, g>) / |z|` for every row.
fn through_normalisation(gradient: &[f64], units: &[f32], norms: &[f64]) -> Vec<f64> {
    let rows = gradient.chunks_exact(32).zip(units.chunks_exact(32)).zip(norms);
    rows.flat_map(|((g, u), norm)| {
        let along: f64 = g.iter().zip(u).map(|(g, u)| g * f64::from(*u)).sum();
        g.iter().zip(u).map(move |(g, u)| (g - f64::from(*u) * along) / norm)
    })
    .collect()
}

#[test]
fn contrast_of_features_finds_the_vectors_and_carries_gradients_through_the_normalisation() {
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
fn contrast_has_the_values_that_can_be_known() {
    let contrast = |tau| Contrast { tau, pair_rule: PairRule::Same, reduction: Reduction::Sum3, self_pairs: false };
    // All cosines 0: 3 ln 2. Unit vectors of all axes, half of them called background.
    let axes: Vec<f32> = (0..32).flat_map(|i| (0..32).map(move |j| if i == j { 1.0 } else { 0.0 })).collect();
    let (background, nucleus) = axes.split_at(16 * 32);
    assert!((contrast(0.3).of_units(background, nucleus, 32).value - 3.0 * 2f64.ln()).abs() < 1e-6);
    // Two antipodal clusters.
    let cluster = |v: f32| (0..50).flat_map(|_| [v, 0.0]).collect::<Vec<f32>>();
    for (tau, expected) in [(0.3, 0.10516), (0.1, 1.362e-4)] {
        let value = contrast(tau).of_units(&cluster(1.0), &cluster(-1.0), 2).value;
        assert!((value - expected).abs() < 1e-4 * expected, "{value}");
    }
}

#[test]
fn contrast_equals_a_dense_f64_reference_over_many_blocks() {
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
    // The gradient at the 1090th background vector, across block borders.
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
fn block_labels_need_every_pixel() {
    let golden = vectors("contrast");
    let pixels = &golden["d4.pixel_labels"];
    let (b, h, w) = pixels.dims3().unwrap();
    assert_eq!(block_labels(&u8s(pixels), b, h, w, 4), u8s(&golden["d4.labels"]));
}

#[test]
fn projection_heads_forward_and_backward() {
    let golden = vectors("projection");
    let seed = seed();
    for (head, inputs, hidden) in [("r1", 16, 16), ("r4", 64, 32)] {
        let kernels: [Arc<dyn Kernels>; 2] = [Arc::new(Cpu::default()), Arc::new(Reference::new(Device::Cpu, DType::F64))];
        for kernels in kernels {
            let graph = projection(head, inputs, hidden, 32);
            let mut network = Network::new(graph.clone(), &reference::weights(seed, &graph), kernels).unwrap();
            let of = |what: &str| &golden[&format!("{head}.{what}")];
            let tape = network.forward(of("tap"), Mode::Train).unwrap();
            let z = network.output(&tape).unwrap().to_dtype(DType::F64).unwrap();
            let norm = z.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
            let unit = z.broadcast_div(&norm).unwrap();
            assert_close(head, &unit, of("z"), 1e-4);
            // Through z / |z|: (dz - u <u, dz>) / |z|.
            let dunit = of("dz").to_dtype(DType::F64).unwrap();
            let along = (&unit * &dunit).unwrap().sum_keepdim(1).unwrap();
            let dz = (dunit - unit.broadcast_mul(&along).unwrap()).unwrap().broadcast_div(&norm).unwrap();
            let dz = dz.to_dtype(network.kernels().dtype()).unwrap();
            let gradients = network.backward(&tape, Some(&dz), &[], true).unwrap();
            assert_close(head, gradients.image.as_ref().unwrap(), of("dtap"), 1e-4);
            for (name, gradient) in &gradients.parameters {
                let key = name.replace(&format!("projection.{head}."), &format!("{head}.grad."));
                let deviation = summary_deviation(seed, name, &network.export(name, gradient).unwrap(), &golden[&key]);
                assert!(deviation <= 1e-4, "{name}: {deviation:.1e}");
            }
            network.update_running_statistics(&tape, 0.1).unwrap();
            for (name, array) in network.weights().unwrap().iter().filter(|(name, _)| name.contains("running_")) {
                let key = name.replace(&format!("projection.{head}."), &format!("{head}.stat."));
                let deviation = summary_deviation(seed, name, array, &golden[&key]);
                assert!(deviation <= 1e-4, "{name}: {deviation:.1e}");
            }
        }
    }
}

#[test]
fn radam_with_one_counter_per_parameter() {
    let golden = vectors("radam");
    let f32s = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
    for p in ["p0", "p1", "p2", "p3"] {
        let of = |what: &str| &golden[&format!("{p}.{what}")];
        let [lr, decay] = f64s(of("lr_wd"))[..] else { panic!("two numbers") };
        for dtype in [DType::F32, DType::F64] {
            let mut optimizer = RAdam::default();
            let mut value = of("start").copy().unwrap().to_dtype(dtype).unwrap();
            for step in 0..12 {
                if f64s(of("has_grad"))[step] != 0.0 {
                    let gradient = f32s(of("grads")).get(step).unwrap().contiguous().unwrap().to_dtype(dtype).unwrap();
                    value = optimizer.step(p, &value, &gradient, Rate { lr, decay }).unwrap();
                }
                let expected = f64s(&of("after_decay_always").get(step).unwrap());
                for (found, expected) in f64s(&value).iter().zip(expected) {
                    let allowed = if dtype == DType::F32 { 2e-6 } else { 1e-12 };
                    assert!((found - expected).abs() <= allowed * expected.abs().max(lr), "{p} step {step}: {found} instead of {expected}");
                }
            }
        }
    }
}

#[test]
fn averages_and_pseudo_labels_in_both_variants() {
    let golden = vectors("ema");
    for set in ["dsb", "monuseg"] {
        let of = |what: &str| &golden[&format!("{set}.{what}")];
        let [alpha, threshold] = f64s(of("a_t"))[..] else { panic!("two numbers") };
        let plain = PseudoLabels { alpha: alpha as f32, threshold: threshold as f32, corrected: false };
        let corrected = PseudoLabels { corrected: true, ..plain };
        let scribbles = u8s(&golden["scribbles"]);
        let mut average = vec![0.0f32; 256];
        for update in 0..of("p").dim(0).unwrap() {
            let row = |what: &str| of(what).get(update).unwrap();
            let p: Vec<f32> = row("p").flatten_all().unwrap().to_vec1().unwrap();
            plain.update(&mut average, &p);
            let k = update as u32 + 1;
            let check = |found: Vec<f64>, expected: Tensor| assert!(difference(&found, &f64s(&expected)).0 <= 1e-6, "{set} update {k}");
            check(average.iter().map(|v| f64::from(*v)).collect(), row("w"));
            check(average.iter().map(|v| f64::from(corrected.bias_corrected(*v, k))).collect(), row("corrected"));
            assert_eq!(plain.labels(&average, &scribbles, k), u8s(&row("labels")), "{set} update {k}");
            assert_eq!(corrected.labels(&average, &scribbles, k), u8s(&row("labels_corrected")), "{set} update {k}");
        }
    }
    let edge: Vec<f32> = golden["edge.w"].to_vec1().unwrap();
    let strict = PseudoLabels { alpha: 0.2, threshold: 0.75, corrected: false };
    assert_eq!(strict.labels(&edge, &vec![train::loss::IGNORE; edge.len()], 1), u8s(&golden["edge.labels"]));
}

#[test]
fn corrected_averages_say_nothing_before_the_first_update() {
    let corrected = PseudoLabels { alpha: 0.2, threshold: 0.8, corrected: true };
    assert_eq!(corrected.labels(&[0.0, 0.0], &[train::loss::IGNORE; 2], 0), [train::loss::IGNORE; 2]);
}

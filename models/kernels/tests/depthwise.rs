//! Depthwise 3x3 convolutions, forward and backward, on every instruction set, against naive sums in f64.

use kernels::depthwise::{Depthwise, transposed};
use kernels::epilogue::Epilogue;
use kernels::geometry::Geometry;
use kernels::{Activation, HaloRows, Isa, Pool};

/// Returns pseudo-random values in -1..1.
fn values(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Iterates over the products of the convolution: indexes of output value, source value and weight.
fn products(g: Geometry, channels: usize) -> impl Iterator<Item = [usize; 3]> {
    let (rows, columns) = g.output();
    let outputs = (0..g.batch).flat_map(move |b| (0..rows).flat_map(move |y| (0..columns).map(move |x| (b, y, x))));
    let each = move |(b, y, x): (usize, usize, usize)| {
        (0..9 * channels).filter_map(move |i| {
            let (tap, c) = (i / channels, i % channels);
            let (sy, sx) = ((y * g.stride + tap / 3).wrapping_sub(1), (x * g.stride + tap % 3).wrapping_sub(1));
            let inside = sy < g.height && sx < g.width;
            inside.then(|| [((b * rows + y) * columns + x) * channels + c, ((b * g.height + sy) * g.width + sx) * channels + c, i])
        })
    };
    outputs.flat_map(each)
}

fn assert_close(name: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs() / (1.0 + b.abs())).fold(0.0, f64::max);
    assert!(worst <= 2e-6, "{name}: {worst}");
}

const CASES: [(usize, usize, usize, usize, usize); 8] = [
    (1, 1, 1, 1, 16),
    (2, 7, 9, 1, 32),
    (1, 8, 10, 2, 48),
    (2, 9, 7, 2, 16),
    (1, 1, 5, 2, 19),
    (1, 5, 2, 1, 3),
    (1, 2, 2, 2, 20),
    (1, 3, 150, 1, 24),
];

#[test]
fn forward_backward_data_and_backward_weight_equal_naive_sums() {
    for (batch, height, width, stride, channels) in CASES {
        let g = Geometry { batch, height, width, kernel: 3, stride, halo: HaloRows::NONE };
        let (rows, columns) = g.output();
        let (inside, out) = (batch * height * width * channels, batch * rows * columns * channels);
        let (x, w, dy) = (values(1, inside), values(2, 9 * channels), values(3, out));
        let mut expected = [vec![0.0_f64; out], vec![0.0; inside], vec![0.0; 9 * channels]];
        for [o, s, i] in products(g, channels) {
            let [xs, ws, ds] = [x[s], w[i], dy[o]].map(f64::from);
            expected[0][o] += xs * ws;
            expected[1][s] += ws * ds;
            expected[2][i] += xs * ds;
        }
        for isa in Isa::available() {
            let pool = Pool::new();
            let depthwise = Depthwise { isa, pool: &pool, geometry: g, channels };
            let (mut y, mut dx) = (vec![f32::NAN; out], vec![f32::NAN; inside]);
            depthwise.convolve(&x, &w, Epilogue::default(), &mut y);
            depthwise.data_gradient(&dy, &w, &mut dx);
            let dw = depthwise.weight_gradient(&x, &dy);
            for (name, found, expected) in [("y", &*y, &expected[0]), ("dx", &dx, &expected[1]), ("dw", &dw, &expected[2])] {
                assert_close(&format!("{isa:?} {g:?} {channels} {name}"), found, expected);
            }
        }
    }
}

#[test]
fn the_epilogue_adds_bias_and_residual_and_clamps() {
    let (g, channels) = (Geometry { batch: 1, height: 6, width: 8, kernel: 3, stride: 2, halo: HaloRows::NONE }, 36);
    let (x, w, bias) = (values(1, 48 * channels), values(2, 9 * channels), values(3, channels).iter().map(|v| 6.0 * v).collect::<Vec<_>>());
    let residual: Vec<f32> = values(4, 12 * channels).iter().map(|v| 4.0 * v).collect();
    let mut sums = vec![0.0_f64; 12 * channels];
    products(g, channels).for_each(|[o, s, i]| sums[o] += f64::from(x[s]) * f64::from(w[i]));
    for (activation, low, high) in
        [(Activation::None, f64::MIN, f64::MAX), (Activation::Relu, 0.0, f64::MAX), (Activation::Relu6, 0.0, 6.0)]
    {
        let expected: Vec<f64> =
            (0..sums.len()).map(|i| (sums[i] + f64::from(bias[i % channels]) + f64::from(residual[i])).clamp(low, high)).collect();
        assert!(expected.contains(&high) || high > 6.0);
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; sums.len()];
            let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation };
            Depthwise { isa, pool: &Pool::new(), geometry: g, channels }.convolve(&x, &w, epilogue, &mut y);
            assert_close(&format!("{isa:?} {activation:?}"), &y, &expected);
        }
    }
}

#[test]
fn transposing_weights_twice_is_the_identity() {
    let w = values(5, 9 * 7);
    let taps_first = transposed(&w, 7, 9);
    assert_eq!(taps_first[7 * 4 + 2], w[9 * 2 + 4]);
    assert_eq!(transposed(&taps_first, 9, 7), w);
}

//! Forward kernels with their epilogue, on every instruction set, against naive sums in f64.

use kernels::epilogue::Epilogue;
use kernels::gather::Gather;
use kernels::geometry::Geometry;
use kernels::head::SingleOutputConv;
use kernels::im2col::Im2col;
use kernels::panels::pack_at;
use kernels::winograd::{Grid, Logit, PackedFilter, Part, Winograd};
use kernels::{Activation, HaloRows, Isa, Pool, Shape, pooling};

/// Returns pseudo-random values in -1..1.
fn values(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A convolution with bias, residual and ReLU, and its operands.
struct Case {
    geometry: Geometry,
    inputs: usize,
    outputs: usize,
    x: Vec<f32>,
    /// Weights `O I K K`.
    weight: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

impl Case {
    fn new(geometry: Geometry, inputs: usize, outputs: usize) -> Self {
        let (rows, columns) = geometry.output();
        let out = geometry.batch * rows * columns * outputs;
        Self {
            geometry,
            inputs,
            outputs,
            x: values(1, geometry.batch * geometry.height * geometry.width * inputs),
            weight: values(2, outputs * inputs * geometry.taps()),
            bias: values(3, outputs),
            residual: values(4, out),
        }
    }

    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue { bias: Some(&self.bias), residual: Some(&self.residual), activation: Activation::Relu }
    }

    fn panels(&self) -> kernels::Buffer {
        let (outputs, inputs): (Vec<usize>, Vec<usize>) = ((0..self.outputs).collect(), (0..self.inputs).collect());
        pack_at(&self.weight, self.geometry.taps(), (&outputs, self.outputs.next_multiple_of(16)), (&inputs, self.inputs))
    }

    fn expected(&self) -> Vec<f64> {
        let g = self.geometry;
        let (rows, columns) = g.output();
        let pixels = (0..g.batch).flat_map(|b| (0..rows).flat_map(move |y| (0..columns).map(move |x| (b, y, x))));
        let one = |(b, y, x): (usize, usize, usize), o: usize| {
            let mut sum = f64::from(self.bias[o]) + f64::from(self.residual[((b * rows + y) * columns + x) * self.outputs + o]);
            for (i, j) in (0..g.kernel).flat_map(|i| (0..g.kernel).map(move |j| (i, j))) {
                let (sy, sx) = ((y * g.stride + i).wrapping_sub(g.kernel / 2), (x * g.stride + j).wrapping_sub(g.kernel / 2));
                if sy < g.height && sx < g.width {
                    let pixel = ((b * g.height + sy) * g.width + sx) * self.inputs;
                    let tap = |c: usize| self.weight[((o * self.inputs + c) * g.kernel + i) * g.kernel + j];
                    sum += (0..self.inputs).map(|c| f64::from(self.x[pixel + c]) * f64::from(tap(c))).sum::<f64>();
                }
            }
            sum.max(0.0)
        };
        pixels.flat_map(|at| (0..self.outputs).map(move |o| (at, o))).map(|(at, o)| one(at, o)).collect()
    }
}

fn assert_close(name: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    let worst = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(worst <= 1e-5 * largest, "{name}: values up to {largest} differ by {worst}");
}

fn geometry(batch: usize, height: usize, width: usize, kernel: usize, stride: usize) -> Geometry {
    Geometry { batch, height, width, kernel, stride, halo: HaloRows::NONE }
}

#[test]
fn im2col_computes_convolutions_of_few_channels() {
    for (g, inputs, outputs) in [(geometry(2, 21, 34, 7, 2), 3, 48), (geometry(1, 5, 3, 3, 1), 1, 16), (geometry(1, 17, 101, 5, 1), 4, 32)]
    {
        let case = Case::new(g, inputs, outputs);
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; case.residual.len()];
            Im2col { isa, pool: &Pool::new(), geometry: g, inputs, outputs }.convolve(&case.x, &case.panels(), case.epilogue(), &mut out);
            assert_close(&format!("{isa:?} {g:?}"), &out, &case.expected());
        }
    }
}

#[test]
fn gather_computes_any_kernel_and_stride() {
    for (g, inputs, outputs) in [(geometry(1, 13, 10, 3, 2), 32, 48), (geometry(2, 8, 9, 1, 2), 16, 16), (geometry(1, 7, 11, 5, 1), 19, 64)]
    {
        let case = Case::new(g, inputs, outputs);
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; case.residual.len()];
            let (weights, taps) = (case.panels(), g.taps());
            let gather = Gather { source: &case.x, source_channels: inputs, weights: &weights, taps, outputs, epilogue: case.epilogue() };
            gather.run(isa, &[g.forward_table()], &mut out);
            assert_close(&format!("{isa:?} {g:?}"), &out, &case.expected());
        }
    }
}

/// Small and large filters, feature maps that are not whole tiles, and the fused logit.
#[test]
fn winograd_with_a_packed_filter_and_with_a_fused_logit() {
    for (batch, height, width, inputs, outputs) in [(2, 9, 14, 16, 48), (1, 1, 1, 32, 16), (1, 12, 20, 144, 144)] {
        let g = geometry(batch, height, width, 3, 1);
        let case = Case::new(g, inputs, outputs);
        let weights = values(5, outputs);
        for isa in Isa::available() {
            let pool = Pool::new();
            let filter = PackedFilter::new(isa, &case.panels(), inputs, outputs);
            let winograd = Winograd { isa, pool: &pool, grid: Grid { batch, height, width } };
            let parts = [Part { values: &case.x, channels: inputs, halved: false, halo: HaloRows::NONE }];
            let (expected, mut out) = (case.expected(), vec![f32::NAN; case.residual.len()]);
            winograd.convolve_packed(&parts, &filter, case.epilogue(), &mut out);
            assert_close(&format!("{isa:?} {g:?}"), &out, &expected);
            if filter.is_small() {
                let mut logits = vec![f32::NAN; batch * height * width];
                winograd.convolve_to_logit(&parts, &filter, case.epilogue(), Logit { weights: &weights, bias: 0.25 }, &mut logits);
                let dot = |pixel: &[f64]| 0.25 + pixel.iter().zip(&weights).map(|(v, w)| v * f64::from(*w)).sum::<f64>();
                assert_close(&format!("{isa:?} logit"), &logits, &expected.chunks_exact(outputs).map(dot).collect::<Vec<_>>());
            }
        }
    }
}

/// A source of half the height and width, concatenated with a second source.
#[test]
fn winograd_reads_a_half_resolution_source_as_if_upsampled() {
    let (height, width, outputs) = (6, 10, 32);
    let g = geometry(1, height, width, 3, 1);
    let case = Case::new(g, 48, outputs);
    let small = values(6, height / 2 * (width / 2) * 16);
    let skip = values(7, height * width * 32);
    let pixel = |i: usize| {
        let (y, x) = (i / width, i % width);
        [&small[(y / 2 * (width / 2) + x / 2) * 16..][..16], &skip[i * 32..][..32]].concat()
    };
    let case = Case { x: (0..height * width).flat_map(pixel).collect(), ..case };
    for isa in Isa::available() {
        let filter = PackedFilter::new(isa, &case.panels(), 48, outputs);
        let winograd = Winograd { isa, pool: &Pool::new(), grid: Grid { batch: 1, height, width } };
        let parts = [
            Part { values: &small, channels: 16, halved: true, halo: HaloRows::NONE },
            Part { values: &skip, channels: 32, halved: false, halo: HaloRows::NONE },
        ];
        let mut out = vec![f32::NAN; case.residual.len()];
        winograd.convolve_packed(&parts, &filter, case.epilogue(), &mut out);
        assert_close(&format!("{isa:?}"), &out, &case.expected());
    }
}

#[test]
fn the_single_output_convolution_and_max_pooling_equal_their_definitions() {
    let (shape, kernel) = (Shape { batch: 2, height: 5, width: 7, channels: 32 }, 3);
    let mut case = Case::new(geometry(2, 5, 7, kernel, 1), 32, 1);
    // A residual of 100 keeps every sum positive, so that the ReLU of the naive sum changes nothing; the bias of the kernel includes it.
    case.residual.fill(100.0);
    let weights: Vec<f32> = (0..9 * 32).map(|i| case.weight[i % 32 * 9 + i / 32]).collect();
    for isa in Isa::available() {
        let mut out = vec![f32::NAN; 70];
        SingleOutputConv { kernel, weights: &weights, bias: case.bias[0] + 100.0 }.convolve(isa, &case.x, shape, HaloRows::NONE, &mut out);
        assert_close(&format!("{isa:?}"), &out, &case.expected());
        let best = pooling::max_pool(isa, &Pool::new(), &case.x, shape);
        for (i, found) in best.iter().enumerate() {
            let (b, y, x, c) = (i / 32 / 12, i / 32 / 4 % 3, i / 32 % 4, i % 32);
            let rows = (2 * y).saturating_sub(1)..(2 * y + 2).min(5);
            let window = rows.flat_map(|y| ((2 * x).saturating_sub(1)..(2 * x + 2).min(7)).map(move |x| (y, x)));
            let most = window.map(|(y, x)| case.x[((b * 5 + y) * 7 + x) * 32 + c]).fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(*found, most);
        }
    }
}

//! Row blocks: a kernel that reads a row block with its halo computes the same output rows as from the whole feature map.

use std::ops::Range;

use kernels::depthwise::Depthwise;
use kernels::epilogue::Epilogue;
use kernels::gather::Gather;
use kernels::geometry::Geometry;
use kernels::head::SingleOutputConv;
use kernels::im2col::Im2col;
use kernels::panels::pack_at;
use kernels::pooling::{max_pool, max_pool_row_block};
use kernels::winograd::{Grid, PackedFilter, Part, Winograd};
use kernels::{Activation, Buffer, HaloRows, Isa, Pool, Shape};

/// Returns pseudo-random values in -1..1.
fn values(len: usize, seed: u32) -> Vec<f32> {
    let mixed = |i: u32| (i ^ seed).wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
    (0..len as u32).map(|i| (mixed(i) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

const WIDTH: usize = 22;
const HEIGHT: usize = 36;

/// Output rows of the row blocks, at half resolution.
const BLOCKS: [Range<usize>; 4] = [0..4, 4..12, 8..18, 9..18];

/// Returns the input rows, and their halo, that output rows `block` of a kernel of `side` and `stride` read of a feature map of
/// `HEIGHT / scale` rows.
fn with_halo(block: &Range<usize>, [side, stride, scale]: [usize; 3], row: usize, x: &[f32]) -> (Vec<f32>, HaloRows) {
    let (own, half) = (block.start * stride / scale..block.end * stride / scale, (side / 2).div_ceil(scale));
    let rows = own.start.saturating_sub(half)..(own.end + half).min(HEIGHT / scale);
    let halo = HaloRows { above: own.start - rows.start, below: rows.end - own.end };
    (x[rows.start * row..rows.end * row].to_vec(), halo)
}

fn panels(inputs: usize, outputs: usize, taps: usize) -> Buffer {
    let [i, o] = [inputs, outputs].map(|n| (0..n).collect::<Vec<_>>());
    pack_at(&values(inputs * outputs * taps, 7), taps, (&o, outputs), (&i, inputs))
}

/// Computes every row block of an output of `rows` rows by `block`, and compares with the whole output.
fn compare(name: &str, whole: &[f32], rows: usize, mut block: impl FnMut(&Range<usize>) -> Vec<f32>) {
    let row = whole.len() / rows;
    for range in BLOCKS {
        let range = if rows == HEIGHT { 2 * range.start..2 * range.end } else { range };
        let (found, expected) = (block(&range), &whole[range.start * row..range.end * row]);
        assert_eq!(found.len(), expected.len(), "{name} {range:?}");
        // Row blocks that begin at a tile boundary have the bits of the whole; others differ by rounding of f32 sums of this size.
        let largest = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        let most = if range.start % 4 == 0 { 0.0 } else { 4e-6 * largest };
        let worst = found.iter().zip(expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(worst <= most, "{name} {range:?}: {worst}");
    }
}

#[test]
fn winograd_computes_row_blocks_of_plain_and_of_upsampled_sources() {
    for isa in Isa::available() {
        let (pool, skip, small) = (Pool::new(), values(HEIGHT * WIDTH * 32, 1), values(HEIGHT * WIDTH / 4 * 16, 2));
        let filter = PackedFilter::new(isa, &panels(48, 16, 9), 48, 16);
        let bias = values(16, 3);
        let epilogue = || Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu };
        let run = |height: usize, [small, skip]: [(&[f32], HaloRows); 2]| {
            let mut out = vec![0.0; height * WIDTH * 16];
            let parts =
                [(small, 16, true), (skip, 32, false)].map(|((values, halo), channels, halved)| Part { values, channels, halved, halo });
            let grid = Grid { batch: 1, height, width: WIDTH };
            Winograd { isa, pool: &pool, grid }.convolve_packed(&parts, &filter, epilogue(), &mut out);
            out
        };
        let whole = run(HEIGHT, [(&small, HaloRows::NONE), (&skip, HaloRows::NONE)]);
        compare("winograd", &whole, HEIGHT, |block| {
            let (small, small_halo) = with_halo(block, [3, 1, 2], WIDTH / 2 * 16, &small);
            let (skip, skip_halo) = with_halo(block, [3, 1, 1], WIDTH * 32, &skip);
            run(block.len(), [(&small, small_halo), (&skip, skip_halo)])
        });
    }
}

#[test]
fn im2col_and_gather_compute_row_blocks_for_every_kernel_and_stride() {
    for isa in Isa::available() {
        for (kernel, stride) in [(7, 2), (3, 2), (1, 2), (3, 1)] {
            let (pool, rows) = (Pool::new(), HEIGHT / stride);
            for inputs in [3, 16] {
                let (x, panels) = (values(HEIGHT * WIDTH * inputs, 4), panels(inputs, 32, kernel * kernel));
                let run = |rows: usize, x: &[f32], halo: HaloRows| {
                    let geometry = Geometry { batch: 1, height: rows * stride, width: WIDTH, kernel, stride, halo };
                    let mut out = vec![0.0; rows * WIDTH.div_ceil(stride) * 32];
                    if inputs < 16 {
                        Im2col { isa, pool: &pool, geometry, inputs, outputs: 32 }.convolve(x, &panels, Epilogue::default(), &mut out);
                    } else {
                        let (taps, epilogue) = (geometry.taps(), Epilogue::default());
                        let gather = Gather { source: x, source_channels: inputs, weights: &panels, taps, outputs: 32, epilogue };
                        gather.run(isa, &[geometry.forward_table()], &mut out);
                    }
                    out
                };
                let whole = run(rows, &x, HaloRows::NONE);
                compare(&format!("{kernel}x{kernel}, stride {stride}, {inputs} channels"), &whole, rows, |block| {
                    let (x, halo) = with_halo(block, [kernel, stride, 1], WIDTH * inputs, &x);
                    run(block.len(), &x, halo)
                });
            }
        }
    }
}

#[test]
fn depthwise_and_max_pool_compute_row_blocks() {
    for isa in Isa::available() {
        let (pool, x) = (Pool::new(), values(HEIGHT * WIDTH * 20, 5));
        for stride in [1, 2] {
            let weights = values(9 * 20, 6);
            let run = |rows: usize, x: &[f32], halo: HaloRows| {
                let geometry = Geometry { batch: 1, height: rows * stride, width: WIDTH, kernel: 3, stride, halo };
                let mut out = vec![0.0; rows * WIDTH / stride * 20];
                Depthwise { isa, pool: &pool, geometry, channels: 20 }.convolve(x, &weights, Epilogue::default(), &mut out);
                out
            };
            compare("depthwise", &run(HEIGHT / stride, &x, HaloRows::NONE), HEIGHT / stride, |block| {
                let (x, halo) = with_halo(block, [3, stride, 1], WIDTH * 20, &x);
                run(block.len(), &x, halo)
            });
        }
        let shape = |height: usize| Shape { batch: 1, height, width: WIDTH, channels: 20 };
        compare("max pool", &max_pool(isa, &pool, &x, shape(HEIGHT)), HEIGHT / 2, |block| {
            let (x, halo) = with_halo(block, [3, 2, 1], WIDTH * 20, &x);
            let mut out = vec![0.0; block.len() * WIDTH / 2 * 20];
            max_pool_row_block(isa, &x, shape(2 * block.len()), halo, &mut out);
            out
        });
    }
}

#[test]
fn the_single_output_convolution_computes_row_blocks() {
    for isa in Isa::available() {
        for kernel in [1, 3] {
            let (x, weights) = (values(HEIGHT * WIDTH * 16, 8), values(kernel * kernel * 16, 9));
            let run = |rows: usize, x: &[f32], halo: HaloRows| {
                let shape = Shape { batch: 1, height: rows, width: WIDTH, channels: 16 };
                let mut out = vec![0.0; rows * WIDTH];
                SingleOutputConv { kernel, weights: &weights, bias: 0.5 }.convolve(isa, x, shape, halo, &mut out);
                out
            };
            compare("head", &run(HEIGHT, &x, HaloRows::NONE), HEIGHT, |block| {
                let (x, halo) = with_halo(block, [kernel, 1, 1], WIDTH * 16, &x);
                run(block.len(), &x, halo)
            });
        }
    }
}

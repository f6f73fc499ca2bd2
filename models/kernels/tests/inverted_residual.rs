//! Fused inverted residual block of `MobileNetV2` against its three convolutions, run one after the other: the same bits.

use kernels::depthwise::{Depthwise, InvertedResidual};
use kernels::epilogue::Epilogue;
use kernels::gather::Gather;
use kernels::geometry::Geometry;
use kernels::pointwise::{Pointwise, used_inputs};
use kernels::{Activation, HaloRows, Isa, Pool, panels};

/// Returns pseudo-random values in -1..1.
fn values(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Weights of a 1x1 convolution between pixels that are padded to a multiple of sixteen values.
struct Weights {
    panels: Vec<f32>,
    inputs: usize,
    outputs: usize,
    bias: Vec<f32>,
}

impl Weights {
    fn new(seed: u32, inputs: usize, outputs: usize) -> Self {
        let [padded_inputs, padded_outputs] = [inputs, outputs].map(|n| n.next_multiple_of(16));
        let places = |n: usize| (0..n).collect::<Vec<_>>();
        let (from, to) = (places(inputs), places(outputs));
        let panels = panels::pack_at(&values(seed, inputs * outputs), 1, (&to, padded_outputs), (&from, padded_inputs)).to_vec();
        assert_eq!(used_inputs(&panels, padded_inputs), inputs);
        let mut bias = values(seed + 1, padded_outputs);
        bias[outputs..].fill(0.0);
        Self { panels, inputs: padded_inputs, outputs: padded_outputs, bias }
    }

    fn epilogue<'a>(&'a self, residual: Option<&'a [f32]>, activation: Activation) -> Epilogue<'a> {
        Epilogue { bias: Some(&self.bias), residual, activation }
    }

    fn pointwise<'a>(&'a self, residual: Option<&'a [f32]>, activation: Activation) -> Pointwise<'a> {
        Pointwise { panels: &self.panels, inputs: self.inputs, outputs: self.outputs, epilogue: self.epilogue(residual, activation) }
    }

    fn apply(&self, isa: Isa, x: &[f32], residual: Option<&[f32]>, activation: Activation) -> Vec<f32> {
        let pixels = x.len() / self.inputs;
        let all = Geometry { batch: 1, height: 1, width: pixels, kernel: 1, stride: 1, halo: HaloRows::NONE };
        let epilogue = self.epilogue(residual, activation);
        let gather = Gather { source: x, source_channels: self.inputs, weights: &self.panels, taps: 1, outputs: self.outputs, epilogue };
        let mut out = vec![0.0; pixels * self.outputs];
        gather.run(isa, &[all.forward_table()], &mut out);
        out
    }
}

/// Input height and width, stride, halo rows above and below, channels (input, with 0 for no expansion; expanded; output), residual.
type Case = ([usize; 2], usize, [usize; 2], [usize; 3], bool);

const CASES: [Case; 9] = [
    ([40, 300], 1, [0, 0], [24, 144, 24], true),
    ([34, 301], 2, [0, 0], [16, 96, 24], false),
    ([32, 90], 1, [1, 1], [32, 192, 32], true),
    ([32, 90], 2, [1, 0], [32, 192, 64], false),
    ([18, 1000], 1, [1, 1], [0, 32, 16], false),
    ([18, 70], 2, [0, 1], [0, 48, 32], false),
    ([1, 1], 1, [0, 0], [5, 16, 3], true),
    ([2, 3], 2, [1, 1], [64, 384, 64], false),
    ([5, 7], 1, [0, 1], [64, 384, 64], true),
];

#[test]
fn the_fused_block_has_the_bits_of_three_convolutions() {
    for isa in Isa::available() {
        for (size, stride, [above, below], [inputs, expanded, outputs], has_residual) in CASES {
            let [height, width] = size;
            let geometry = Geometry { batch: 1, height, width, kernel: 3, stride, halo: HaloRows { above, below } };
            let (rows, columns) = geometry.output();
            let expand = (inputs > 0).then(|| Weights::new(1, inputs, expanded));
            let project = Weights::new(3, expanded, outputs);
            let x = values(5, (above + height + below) * width * expand.as_ref().map_or(expanded, |expand| expand.inputs));
            let (weights, bias, residual) = (values(6, 9 * expanded), values(7, expanded), values(8, rows * columns * project.outputs));
            let (epilogue, residual) =
                (Epilogue { bias: Some(&bias), residual: None, activation: Activation::Relu6 }, has_residual.then_some(&*residual));

            let expanded_map = expand.as_ref().map_or_else(|| x.clone(), |expand| expand.apply(isa, &x, None, Activation::Relu6));
            let mut depthwise_map = vec![0.0; rows * columns * expanded];
            Depthwise { isa, pool: &Pool::new(), geometry, channels: expanded }.convolve(
                &expanded_map,
                &weights,
                epilogue,
                &mut depthwise_map,
            );
            let expected = project.apply(isa, &depthwise_map, residual, Activation::None);

            for threads in [1, 3] {
                let mut out = vec![f32::NAN; expected.len()];
                let expand = expand.as_ref().map(|expand| expand.pointwise(None, Activation::Relu6));
                let project = project.pointwise(residual, Activation::None);
                let block = InvertedResidual { isa, geometry, expand, weights: &weights, epilogue, project };
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| block.run(&x, &mut out));
                assert!(out == expected, "{isa:?}, {size:?} stride {stride}, {inputs} to {expanded} to {outputs}, {threads} threads");
            }
        }
    }
}

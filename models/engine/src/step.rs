//! Kernel calls of one step of a [`Program`], for some rows of its result.

use std::ops::Range;

use kernels::depthwise::{Depthwise, InvertedResidual};
use kernels::epilogue::Epilogue;
use kernels::gather::Gather;
use kernels::geometry::Geometry;
use kernels::head::SingleOutputConv;
use kernels::im2col::Im2col;
use kernels::pointwise::Pointwise;
use kernels::winograd::{Grid, Logit, Part, Winograd};
use kernels::{Activation, HaloRows, Pool, Shape, maps as plain, norm, pooling};
use rayon::prelude::*;

use super::fuse::Source;
use super::program::{ConvAlgorithm, PackedConv, PackedInvertedResidual, Program, Step, StepOp};
use super::receptive_field::ReceptiveField;
use super::row_ring::{RowRing, Rows};
use super::stream::MapSize;
use super::workspace::Workspace;

/// Number of pixels per parallel task; number of values for elementwise operations.
const TASK_LEN: usize = 1 << 12;

/// Rows of an input that a kernel call reads, halo included.
struct InputRows<'a> {
    values: Rows<'a>,
    /// Shape without the halo: `height` rows along the stream axis, of `width` pixels.
    shape: Shape,
    halo: HaloRows,
}

/// Feature maps that a step reads from, and the rows of its result to compute.
pub(super) struct StepInputs<'a> {
    pub step: &'a Step,
    pub rows: &'a Range<usize>,
    pub feature_maps: &'a [RowRing],
    pub sizes: &'a [MapSize],
}

impl<'a> StepInputs<'a> {
    /// Returns the rows of a source in the receptive field of the result's rows.
    fn input_rows(&self, program: &Program, pool: &'a Pool, source: &Source) -> InputRows<'a> {
        let (field, size) = (ReceptiveField::of(self.step, source), self.sizes[source.value]);
        let (rows, halo) = field.input_rows(self.rows, size.rows);
        let height = rows.len() - halo.above - halo.below;
        let shape = Shape { batch: 1, height, width: size.row_pixels, channels: program.pixel_lens[source.value] };
        InputRows { values: self.feature_maps[source.value].get(pool, rows), shape, halo }
    }

    /// Returns the residual at the rows of the result.
    fn residual(&self, pool: &'a Pool) -> Option<Rows<'a>> {
        self.step.residual.map(|residual| self.feature_maps[residual].get(pool, self.rows.clone()))
    }
}

impl Program {
    /// Computes rows of a step's result.
    pub(super) fn compute_step(&self, op: &StepOp, inputs: &StepInputs, workspace: &Workspace, out: &mut [f32]) {
        let (step, pool) = (inputs.step, &workspace.pool);
        let x = inputs.input_rows(self, pool, &step.sources[0]);
        match op {
            StepOp::Image { .. } => unreachable!("the image is not computed from feature maps"),
            StepOp::Conv(conv) => self.convolve(inputs, &x, conv, workspace, out),
            StepOp::Depthwise { stride, weights, bias } => {
                let channels = x.shape.channels;
                let epilogue = Epilogue { bias: Some(bias), residual: None, activation: step.activation };
                let geometry = geometry(&x, [3, *stride]);
                Depthwise { isa: self.isa, pool, geometry, channels }.convolve(&x.values, weights, epilogue, out);
            }
            StepOp::InvertedResidual(block) => self.inverted_residual(inputs, &x, block, pool, out),
            StepOp::Affine { gain, offset } => norm::affine(self.isa, &x.values, None, [gain, offset], step.activation, out),
            StepOp::Activation => {
                let chunks = out.par_chunks_mut(TASK_LEN).zip(x.values.par_chunks(TASK_LEN));
                chunks.for_each(|(out, x)| out.iter_mut().zip(x).for_each(|(out, x)| *out = step.activation.apply(*x)));
            }
            StepOp::Add(offsets) => add(&x, &inputs.input_rows(self, pool, &step.sources[1]), offsets, out),
            StepOp::MaxPool => pooling::max_pool_row_block(self.isa, &x.values, x.shape, x.halo, out),
            StepOp::Upsample => copy_from(pool, plain::upsample(pool, &x.values, x.shape), out),
            StepOp::Concat => {
                let parts: Vec<InputRows> = step.sources.iter().map(|source| inputs.input_rows(self, pool, source)).collect();
                let parts: Vec<(&[f32], usize)> = parts.iter().map(|part| (&*part.values, part.shape.channels)).collect();
                copy_from(pool, plain::concat_all(pool, &parts), out);
            }
            StepOp::Difference([zero, one]) => {
                let pixels = x.values.chunks_exact(x.shape.channels);
                out.iter_mut().zip(pixels).for_each(|(z, pixel)| *z = pixel[*one] - pixel[*zero]);
            }
        }
    }

    fn inverted_residual(&self, inputs: &StepInputs, x: &InputRows, block: &PackedInvertedResidual, pool: &Pool, out: &mut [f32]) {
        let residual = inputs.residual(pool);
        let epilogue = |bias, activation: Activation| Epilogue { bias: Some(bias), residual: None, activation };
        let expand = block.expand.as_ref().map(|(conv, activation)| pointwise(conv, epilogue(&conv.bias, *activation)));
        let last = Epilogue { residual: residual.as_deref(), ..epilogue(&block.project.bias, inputs.step.activation) };
        let block = InvertedResidual {
            isa: self.isa,
            geometry: geometry(x, [3, block.stride]),
            expand,
            weights: &block.weights,
            epilogue: epilogue(&block.bias, block.activation),
            project: pointwise(&block.project, last),
        };
        block.run(&x.values, out);
    }

    fn convolve(&self, inputs: &StepInputs, x: &InputRows, conv: &PackedConv, workspace: &Workspace, out: &mut [f32]) {
        let (step, pool) = (inputs.step, &workspace.pool);
        let residual = inputs.residual(pool);
        let epilogue = Epilogue { bias: Some(&conv.bias), residual: residual.as_deref(), activation: step.activation };
        match &conv.algorithm {
            ConvAlgorithm::Winograd(filter) | ConvAlgorithm::WinogradLogit(filter, ..) => {
                let source_rows: Vec<InputRows> = step.sources.iter().map(|source| inputs.input_rows(self, pool, source)).collect();
                let parts = step.sources.iter().zip(&source_rows).map(|(source, InputRows { values, shape, halo })| Part {
                    values,
                    channels: shape.channels,
                    halved: source.halved,
                    halo: *halo,
                });
                let parts: Vec<Part> = parts.collect();
                let grid = Grid { batch: 1, height: inputs.rows.len(), width: inputs.sizes[step.value].row_pixels };
                let winograd = Winograd { isa: self.isa, pool, grid };
                if let ConvAlgorithm::WinogradLogit(_, weights, bias) = &conv.algorithm {
                    winograd.convolve_to_logit(&parts, filter, epilogue, Logit { weights, bias: *bias }, out);
                } else {
                    winograd.convolve_packed(&parts, filter, epilogue, out);
                }
            }
            ConvAlgorithm::Im2col(panels) => {
                let geometry = geometry(x, [conv.kernel, conv.stride]);
                let im2col = Im2col { isa: self.isa, pool, geometry, inputs: conv.inputs, outputs: step.pixel_len };
                im2col.convolve(&x.values, panels, epilogue, out);
            }
            ConvAlgorithm::Gather(weights) => {
                let geometry = geometry(x, [conv.kernel, conv.stride]);
                let table = workspace.table(geometry);
                let (taps, outputs) = (geometry.taps(), step.pixel_len);
                let gather = Gather { source: &x.values, source_channels: conv.inputs, weights, taps, outputs, epilogue };
                gather.run(self.isa, std::slice::from_ref(&*table), out);
            }
            ConvAlgorithm::SingleOutput(weights) => {
                let single = SingleOutputConv { kernel: conv.kernel, weights, bias: conv.bias[0] };
                single.convolve(self.isa, &x.values, x.shape, x.halo, out);
            }
        }
    }
}

/// Returns the arguments of a 1x1 convolution of an inverted residual block, which always uses packed panels.
fn pointwise<'a>(conv: &'a PackedConv, epilogue: Epilogue<'a>) -> Pointwise<'a> {
    let ConvAlgorithm::Gather(panels) = &conv.algorithm else { unreachable!("a 1x1 convolution has packed panels") };
    Pointwise { panels, inputs: conv.inputs, outputs: conv.bias.len(), epilogue }
}

fn geometry(x: &InputRows, [kernel, stride]: [usize; 2]) -> Geometry {
    let Shape { batch, height, width, .. } = x.shape;
    Geometry { batch, height, width, kernel, stride, halo: x.halo }
}

/// Copies values to `out` and returns their buffer to the pool.
fn copy_from(pool: &Pool, values: kernels::Buffer, out: &mut [f32]) {
    out.copy_from_slice(&values);
    pool.give(values);
}

/// Adds two feature maps with possibly different channel layouts; the result has the layout of the first.
fn add(a: &InputRows, b: &InputRows, [offsets_a, offsets_b]: &[Vec<usize>; 2], out: &mut [f32]) {
    let (len_a, len_b) = (a.shape.channels, b.shape.channels);
    let is_same = offsets_a == offsets_b && len_a == len_b;
    let chunks = a.values.par_chunks(TASK_LEN * len_a).zip(b.values.par_chunks(TASK_LEN * len_b));
    out.par_chunks_mut(TASK_LEN * len_a).zip(chunks).for_each(|(out, (a, b))| {
        if is_same {
            out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a + b);
            return;
        }
        out.copy_from_slice(a);
        for (out, b) in out.chunks_exact_mut(len_a).zip(b.chunks_exact(len_b)) {
            offsets_a.iter().zip(offsets_b).for_each(|(&to, &from)| out[to] += b[from]);
        }
    });
}

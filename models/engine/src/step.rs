//! One step of a [`Program`] on some rows of its maps (columns of the image, see `transposed`).

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
use super::program::{Block, Convolution, Form, Program, Step, Work};
use super::reach::Reach;
use super::row_ring::{RowRing, Rows};
use super::run::{Extent, Workspace};

/// Pixels that one task handles.
const TASK: usize = 1 << 12;

/// A piece of a map: its values, the rows that it stands for, and those around them.
struct Piece<'a> {
    values: Rows<'a>,
    shape: Shape,
    margin: HaloRows,
}

/// What a step reads for some rows.
pub(super) struct Reads<'a> {
    pub step: &'a Step,
    pub rows: &'a Range<usize>,
    pub maps: &'a [RowRing],
    pub extents: &'a [Extent],
}

impl<'a> Reads<'a> {
    fn piece(&self, program: &Program, pool: &'a Pool, source: &Source) -> Piece<'a> {
        let (reach, extent) = (Reach::of(self.step, source), self.extents[source.value]);
        let (rows, margin) = reach.reads(self.rows, extent.columns);
        let height = rows.len() - margin.above - margin.below;
        let shape = Shape { batch: 1, height, width: extent.rows, channels: program.widths[source.value] };
        Piece { values: self.maps[source.value].get(pool, rows), shape, margin }
    }

    fn plus(&self, pool: &'a Pool) -> Option<Rows<'a>> {
        self.step.plus.map(|plus| self.maps[plus].get(pool, self.rows.clone()))
    }
}

impl Program {
    /// Some rows of a step's map.
    pub(super) fn step(&self, work: &Work, reads: &Reads, workspace: &Workspace, out: &mut [f32]) {
        let (step, pool) = (reads.step, &workspace.pool);
        let x = reads.piece(self, pool, &step.sources[0]);
        match work {
            Work::Image { .. } => unreachable!("images come from outside"),
            Work::Conv(conv) => self.convolve(reads, &x, conv, workspace, out),
            Work::Depthwise { stride, weights, bias } => {
                let channels = x.shape.channels;
                let epilogue = Epilogue { bias: Some(bias), residual: None, activation: step.activation };
                let geometry = geometry(&x, [3, *stride]);
                Depthwise { isa: self.isa, pool, geometry, channels }.convolve(&x.values, weights, epilogue, out);
            }
            Work::InvertedResidual(block) => self.inverted_residual(reads, &x, block, pool, out),
            Work::Affine { gain, offset } => norm::affine(self.isa, &x.values, None, [gain, offset], step.activation, out),
            Work::Activate => {
                let chunks = out.par_chunks_mut(TASK).zip(x.values.par_chunks(TASK));
                chunks.for_each(|(out, x)| out.iter_mut().zip(x).for_each(|(out, x)| *out = step.activation.apply(*x)));
            }
            Work::Add(places) => add(&x, &reads.piece(self, pool, &step.sources[1]), places, out),
            Work::MaxPool => pooling::max_pool_row_block(self.isa, &x.values, x.shape, x.margin, out),
            Work::Upsample => copy_from(pool, plain::upsample(pool, &x.values, x.shape), out),
            Work::Concat => {
                let parts: Vec<Piece> = step.sources.iter().map(|source| reads.piece(self, pool, source)).collect();
                let parts: Vec<(&[f32], usize)> = parts.iter().map(|part| (&*part.values, part.shape.channels)).collect();
                copy_from(pool, plain::concat_all(pool, &parts), out);
            }
            Work::Difference([zero, one]) => {
                let pixels = x.values.chunks_exact(x.shape.channels);
                out.iter_mut().zip(pixels).for_each(|(z, pixel)| *z = pixel[*one] - pixel[*zero]);
            }
        }
    }

    fn inverted_residual(&self, reads: &Reads, x: &Piece, block: &Block, pool: &Pool, out: &mut [f32]) {
        let plus = reads.plus(pool);
        let epilogue = |bias, activation: Activation| Epilogue { bias: Some(bias), residual: None, activation };
        let expand = block.expand.as_ref().map(|(conv, activation)| pointwise(conv, epilogue(&conv.bias, *activation)));
        let last = Epilogue { residual: plus.as_deref(), ..epilogue(&block.project.bias, reads.step.activation) };
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

    fn convolve(&self, reads: &Reads, x: &Piece, conv: &Convolution, workspace: &Workspace, out: &mut [f32]) {
        let (step, pool) = (reads.step, &workspace.pool);
        let plus = reads.plus(pool);
        let epilogue = Epilogue { bias: Some(&conv.bias), residual: plus.as_deref(), activation: step.activation };
        match &conv.form {
            Form::Winograd(filter) | Form::Logit(filter, ..) => {
                let pieces: Vec<Piece> = step.sources.iter().map(|source| reads.piece(self, pool, source)).collect();
                let parts = step.sources.iter().zip(&pieces).map(|(source, Piece { values, shape, margin })| Part {
                    values,
                    channels: shape.channels,
                    halved: source.halved,
                    halo: *margin,
                });
                let parts: Vec<Part> = parts.collect();
                let grid = Grid { batch: 1, height: reads.rows.len(), width: reads.extents[step.value].rows };
                let winograd = Winograd { isa: self.isa, pool, grid };
                if let Form::Logit(_, weights, bias) = &conv.form {
                    winograd.convolve_to_logit(&parts, filter, epilogue, Logit { weights, bias: *bias }, out);
                } else {
                    winograd.convolve_packed(&parts, filter, epilogue, out);
                }
            }
            Form::Im2col(panels) => {
                let geometry = geometry(x, [conv.kernel, conv.stride]);
                let patches = Im2col { isa: self.isa, pool, geometry, inputs: conv.inputs, outputs: step.width };
                patches.convolve(&x.values, panels, epilogue, out);
            }
            Form::Gather(weights) => {
                let geometry = geometry(x, [conv.kernel, conv.stride]);
                let class = workspace.table(geometry);
                let (taps, outputs) = (geometry.taps(), step.width);
                let gather = Gather { source: &x.values, source_channels: conv.inputs, weights, taps, outputs, epilogue };
                gather.run(self.isa, std::slice::from_ref(&*class), out);
            }
            Form::Single(weights) => {
                let single = SingleOutputConv { kernel: conv.kernel, weights, bias: conv.bias[0] };
                single.convolve(self.isa, &x.values, x.shape, x.margin, out);
            }
        }
    }
}

/// A convolution of a block, which only 1x1 convolutions of many channels become.
fn pointwise<'a>(conv: &'a Convolution, epilogue: Epilogue<'a>) -> Pointwise<'a> {
    let Form::Gather(panels) = &conv.form else { unreachable!("a 1x1 convolution in panels") };
    Pointwise { panels, inputs: conv.inputs, outputs: conv.bias.len(), epilogue }
}

fn geometry(x: &Piece, [kernel, stride]: [usize; 2]) -> Geometry {
    let Shape { batch, height, width, .. } = x.shape;
    Geometry { batch, height, width, kernel, stride, halo: x.margin }
}

fn copy_from(pool: &Pool, values: kernels::Buffer, out: &mut [f32]) {
    out.copy_from_slice(&values);
    pool.give(values);
}

/// The sum of two maps, laid out as the first, whose channels may lie at different places.
fn add(a: &Piece, b: &Piece, [places_a, places_b]: &[Vec<usize>; 2], out: &mut [f32]) {
    let (width_a, width_b) = (a.shape.channels, b.shape.channels);
    let is_same = places_a == places_b && width_a == width_b;
    let pieces = a.values.par_chunks(TASK * width_a).zip(b.values.par_chunks(TASK * width_b));
    out.par_chunks_mut(TASK * width_a).zip(pieces).for_each(|(out, (a, b))| {
        if is_same {
            out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a + b);
            return;
        }
        out.copy_from_slice(a);
        for (out, b) in out.chunks_exact_mut(width_a).zip(b.chunks_exact(width_b)) {
            places_a.iter().zip(places_b).for_each(|(&to, &from)| out[to] += b[from]);
        }
    });
}

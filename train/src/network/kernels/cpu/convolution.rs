//! Dense convolutions: selection of the algorithm (bf16, Winograd, im2col or gather), and conversion of its operands.

use candle_core::{Result, Tensor};
use kernels::epilogue::Epilogue;
use kernels::gather::{Gather, GatherTable};
use kernels::geometry::{Geometry, Tables};
use kernels::im2col::{self, Im2col};
use kernels::scratch::Buffer;
use kernels::weight_gradient::WeightGradient;
use kernels::winograd::{self, Filter, Part, PartBuffer, Winograd};
use kernels::{HaloRows, Shape, maps, panels};
use models::graph::Conv;

use super::Cpu;
use super::source_shapes::SourceShapes;
use super::tensors::{f32s, feature, tensor, vector};
use crate::network::kernels::{ConvGradients, Source, assemble_source, split_source_gradient};

fn geometry(conv: &Conv, x: Shape) -> Geometry {
    assert_eq!(x.channels, conv.inputs, "channels of the input");
    Geometry { batch: x.batch, height: x.height, width: x.width, kernel: conv.kernel, stride: conv.stride, halo: HaloRows::NONE }
}

impl Cpu {
    /// Returns the Winograd form of a convolution if its shape and its channel counts (multiples of 16) allow it.
    fn winograd(&self, conv: &Conv, geometry: &Geometry, shapes: &SourceShapes) -> Option<Winograd<'_>> {
        let grid = geometry.grid();
        let whole = shapes.parts.iter().all(|(shape, _)| shape.channels.is_multiple_of(16));
        (whole && winograd::pays(conv, &grid)).then_some(Winograd { isa: self.isa, pool: &self.pool, grid })
    }

    fn im2col(&self, conv: &Conv, geometry: Geometry) -> Im2col<'_> {
        Im2col { isa: self.isa, pool: &self.pool, geometry, inputs: conv.inputs, outputs: conv.outputs }
    }

    pub(super) fn convolve(&self, conv: &Conv, source: Source, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let shapes = SourceShapes::of(source)?;
        let geometry = geometry(conv, shapes.whole);
        let (height, width) = geometry.output();
        let weights = f32s(weight)?;
        let mut out = self.pool.take(geometry.batch * height * width * conv.outputs);
        if let Some(convolution) = self.bf16_convolution(conv, geometry) {
            shapes.read(source, |parts| convolution.convolve(parts, &weights, &mut out))?;
        } else if let Some(winograd) = self.winograd(conv, &geometry, &shapes) {
            let filter = Filter { panels: &weights, inputs: conv.inputs, outputs: conv.outputs, rotated: false };
            let target = PartBuffer { values: &mut out, channels: conv.outputs, halved: false };
            shapes.read(source, |parts| winograd.convolve(parts, filter, &mut [target]))?;
        } else if let (true, Source::FeatureMap(x)) = (im2col::pays(conv), source) {
            self.im2col(conv, geometry).convolve(&f32s(x)?, &weights, Epilogue::default(), &mut out);
        } else {
            let x = assemble_source(self, source)?;
            let (x, bias) = (f32s(&x)?, bias.map(f32s).transpose()?);
            let gather = Gather {
                source: &x,
                source_channels: conv.inputs,
                weights: &weights,
                taps: geometry.taps(),
                outputs: conv.outputs,
                epilogue: Epilogue { bias: bias.as_deref(), ..Epilogue::default() },
            };
            self.gather(&gather, geometry, |tables| &tables.forward, &mut out);
        }
        feature(out, geometry.batch, height, width, conv.outputs)
    }

    /// Runs a gather convolution over the batch in groups of images that share the gather tables of one geometry.
    fn gather(&self, gather: &Gather, geometry: Geometry, classes: impl Fn(&Tables) -> &[GatherTable], out: &mut [f32]) {
        let [of_source, of_out] = [gather.source.len(), out.len()].map(|len| len / geometry.batch);
        let together = geometry.for_tables().batch;
        for (source, out) in gather.source.chunks(together * of_source).zip(out.chunks_mut(together * of_out)) {
            let tables = self.tables.get(Geometry { batch: out.len() / of_out, ..geometry });
            Gather { source, ..*gather }.run(self.isa, classes(&tables), out);
        }
    }

    pub(super) fn convolve_backward(
        &self,
        conv: &Conv,
        source: Source,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<ConvGradients> {
        let shapes = SourceShapes::of(source)?;
        let geometry = geometry(conv, shapes.whole);
        if let Some(convolution) = self.bf16_convolution(conv, geometry) {
            return self.backward_in_bf16(&convolution, source, &shapes, weight, dy, wants_dx);
        }
        match self.winograd(conv, &geometry, &shapes) {
            Some(winograd) => self.backward_winograd(conv, &winograd, source, &shapes, weight, dy, wants_dx),
            None => self.backward_gather(conv, geometry, source, &shapes, weight, dy, wants_dx),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one convolution, its maps and its gradient")]
    fn backward_winograd(
        &self,
        conv: &Conv,
        winograd: &Winograd,
        source: Source,
        shapes: &SourceShapes,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<ConvGradients> {
        let gradient = f32s(dy)?;
        let gradient = Part { values: &gradient, channels: conv.outputs, halved: false, halo: HaloRows::NONE };
        let dweight = tensor(shapes.read(source, |parts| winograd.weight_gradient(parts, gradient))?)?;
        if !wants_dx {
            return Ok(ConvGradients { dx: None, dskip: None, dweight, dbias: None });
        }
        let transposed = self.transposed_filter(conv, weight)?;
        let filter = Filter { panels: &transposed, inputs: conv.outputs, outputs: conv.inputs, rotated: true };
        let [dx, dskip] = shapes.gradients(&self.pool, |targets| winograd.convolve(&[gradient], filter, targets))?;
        self.pool.give(transposed);
        Ok(ConvGradients { dx, dskip, dweight, dbias: None })
    }

    #[expect(clippy::too_many_arguments, reason = "one convolution, its maps and its gradient")]
    fn backward_gather(
        &self,
        conv: &Conv,
        geometry: Geometry,
        source: Source,
        shapes: &SourceShapes,
        weight: &Tensor,
        dy: &Tensor,
        wants_dx: bool,
    ) -> Result<ConvGradients> {
        let x = assemble_source(self, source)?;
        let (x, gradient) = (f32s(&x)?, f32s(dy)?);
        let dweight = tensor(self.weight_gradient(conv, geometry, &x, &gradient))?;
        let dbias = if conv.bias { Some(vector(maps::sum_over_pixels(&gradient, conv.outputs))?) } else { None };
        if !wants_dx {
            return Ok(ConvGradients { dx: None, dskip: None, dweight, dbias });
        }
        let transposed = self.transposed_filter(conv, weight)?;
        let gather = Gather {
            source: &gradient,
            source_channels: conv.outputs,
            weights: &transposed,
            taps: geometry.taps(),
            outputs: conv.inputs,
            epilogue: Epilogue::default(),
        };
        // A 1x1 kernel with stride 2 reads one pixel in four; the gradient at the others is 0.
        let mut dx = if conv.kernel >= conv.stride { self.pool.take(x.len()) } else { self.pool.zeros(x.len()) };
        self.gather(&gather, geometry, |tables| &tables.backward, &mut dx);
        self.pool.give(transposed);
        let s = shapes.whole;
        let dx = feature(dx, s.batch, s.height, s.width, s.channels)?;
        let (dx, dskip) = split_source_gradient(self, source, shapes.parts[0].0.channels, dx)?;
        Ok(ConvGradients { dx: Some(dx), dskip, dweight, dbias })
    }

    /// Computes the gradient of the filter by im2col if the shape favours it, and by gathered outer products otherwise.
    fn weight_gradient(&self, conv: &Conv, geometry: Geometry, x: &[f32], gradient: &[f32]) -> Buffer {
        if im2col::pays(conv) {
            return self.im2col(conv, geometry).weight_gradient(x, gradient);
        }
        let images = geometry.for_tables();
        let tables = self.tables.get(images);
        let outer_products = WeightGradient {
            source: x,
            inputs: conv.inputs,
            gradient,
            outputs: conv.outputs,
            taps: geometry.taps(),
            sources: &tables.forward[0].sources,
            source_pixels: images.batch * images.height * images.width,
        };
        outer_products.run(self.isa, &self.pool)
    }

    /// Packs the filter with its input and output channels exchanged, as the backward-data pass reads it.
    fn transposed_filter(&self, conv: &Conv, weight: &Tensor) -> Result<Buffer> {
        let taps = conv.kernel * conv.kernel;
        let mut transposed = self.pool.take(panels::len(conv.inputs, conv.outputs, taps));
        panels::transpose(&f32s(weight)?, conv.outputs, conv.inputs, taps, &mut transposed);
        Ok(transposed)
    }
}

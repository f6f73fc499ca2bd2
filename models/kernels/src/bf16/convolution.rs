//! Forward and backward-data: for every output position, the values that its window reads times the filter.

use std::ops::Range;

use models::graph::Conv;

use super::block::TILE;
use super::filter::{Run, pack};
use super::layout::Layout;
use super::positions::{Pixels, Target, clear};
use super::{Halves, Unit};
use crate::geometry::Geometry;
use crate::halo_rows::HaloRows;
use crate::maps::{self, Shape};
use crate::panels;
use crate::scratch::{Buffer, Pool, Shared};
use crate::winograd::{Part, PartBuffer};

/// A convolution with bf16 operands.
#[derive(Clone, Copy)]
pub struct Bf16Convolution<'a> {
    /// What multiplies, from [`Unit::available`].
    pub unit: Unit,
    /// Where results come from.
    pub pool: &'a Pool,
    /// Where copies come from that only one convolution needs, from [`Pool::of_any_length`].
    pub scratch: &'a Pool,
    /// Bytes of copies that lie in memory at the same time, if one image, or a part of a sum for each thread, takes no more: so much
    /// is worked on together. Results do not depend on it.
    pub room: usize,
    /// Sizes.
    pub geometry: Geometry,
    /// Channels read.
    pub inputs: usize,
    /// Channels written.
    pub outputs: usize,
}

/// Fewer channels than this, read or written, stay f32: the first layer, the head, and pixels narrower than a tile.
const FEWEST: usize = TILE;

/// Whether bf16 does this convolution: 1x1 and 3x3, stride 1 or 2, from and to at least 16 channels, without bias.
pub fn pays(conv: &Conv) -> bool {
    conv.inputs >= FEWEST && conv.outputs >= FEWEST && matches!(conv.kernel, 1 | 3) && matches!(conv.stride, 1 | 2) && !conv.bias
}

/// Enough [`Bf16Convolution::room`] for some threads, and little beside the maps of a training step.
pub const ROOM: usize = 16 << 20;

/// A filter for the pixels of one class modulo the stride.
struct Class {
    first: [usize; 2],
    /// None where no tap reads.
    filter: Option<Halves>,
}

/// The maps of some images.
fn images<'a>(parts: &[Part<'a>], batch: usize, images: &Range<usize>) -> Vec<Part<'a>> {
    let some = |part: &Part<'a>| {
        let image = part.values.len() / batch;
        Part { values: &part.values[images.start * image..images.end * image], ..*part }
    };
    parts.iter().map(some).collect()
}

/// The gradients of some images.
fn images_mut<'a>(part: &'a mut PartBuffer, batch: usize, images: &Range<usize>) -> PartBuffer<'a> {
    let image = part.values.len() / batch;
    PartBuffer { values: &mut part.values[images.start * image..images.end * image], channels: part.channels, halved: part.halved }
}

impl Bf16Convolution<'_> {
    /// Convolves the channels of all `parts`, which follow one another; `weights` is `[panel][tap][input][16]`, `out`
    /// `[pixel][outputs]`.
    pub fn convolve(&self, parts: &[Part], weights: &[f32], out: &mut [f32]) {
        let (batch, (height, width)) = (self.geometry.batch, self.geometry.output());
        assert_eq!(parts.iter().map(|part| part.channels).sum::<usize>(), self.inputs);
        assert_eq!(out.len(), batch * height * width * self.outputs);
        let filter = pack(self.scratch, weights, self.inputs, self.geometry.taps(), self.outputs, &self.rows(&Layout::of(self.geometry)));
        let stride = self.geometry.stride;
        for some in self.image_groups(2 * stride * stride * self.inputs) {
            let out = &mut out[some.start * height * width * self.outputs..some.end * height * width * self.outputs];
            self.of(&some).convolve_some(&images(parts, batch, &some), &filter, out);
        }
        filter.give(self.scratch);
    }

    fn convolve_some(&self, parts: &[Part], filter: &Halves, out: &mut [f32]) {
        let layout = Layout::of(self.geometry);
        let (height, width) = self.geometry.output();
        let source = layout.copy(self.scratch, parts, 0..layout.all());
        let pixels = Pixels { height, width, stride: 1, first: [0, 0] };
        let targets = [Target { values: Shared::new(out), channels: self.outputs }];
        self.product(&layout, &source, self.inputs, &self.rows(&layout), filter, &pixels, &targets);
        source.give(self.scratch);
    }

    /// The gradient at the map that was read, from that at the result, `dy`. Every part of `targets` is written; of a halved one
    /// a pixel is the sum of 2x2.
    pub fn data_gradient(&self, dy: &[f32], weights: &[f32], targets: &mut [PartBuffer]) {
        assert_eq!(targets.iter().map(|part| part.channels).sum::<usize>(), self.inputs);
        let Geometry { batch, height, width, .. } = self.geometry;
        let (taps, dy) = (self.geometry.taps(), Part { values: dy, channels: self.outputs, halved: false, margin: HaloRows::NONE });
        for part in &*targets {
            let half = usize::from(part.halved);
            assert_eq!(part.values.len(), batch * (height >> half) * (width >> half) * part.channels);
        }
        let mut transposed = self.scratch.take(panels::len(self.inputs, self.outputs, taps));
        panels::transpose(weights, self.outputs, self.inputs, taps, &mut transposed);
        let layout = Layout::of(self.geometry).of_output();
        let classes: Vec<Class> = self
            .classes()
            .map(|first| {
                let runs = self.transposed(&layout, first);
                let filter = (!runs.is_empty()).then(|| pack(self.scratch, &transposed, self.outputs, taps, self.inputs, &runs));
                Class { first, filter }
            })
            .collect();
        self.scratch.give(transposed);
        let stride = self.geometry.stride;
        let halved: usize = targets.iter().filter(|part| part.halved).map(|part| part.channels).sum();
        for some in self.image_groups(2 * self.outputs + 4 * stride * stride * halved) {
            let mut own: Vec<PartBuffer> = targets.iter_mut().map(|part| images_mut(part, batch, &some)).collect();
            self.of(&some).data_gradient_some(&images(&[dy], batch, &some), &classes, &mut own);
        }
        classes.into_iter().filter_map(|class| class.filter).for_each(|filter| filter.give(self.scratch));
    }

    fn data_gradient_some(&self, dy: &[Part], classes: &[Class], targets: &mut [PartBuffer]) {
        let Geometry { batch, height, width, stride, .. } = self.geometry;
        let pixels = batch * height * width;
        let mut upsampled: Vec<Option<Buffer>> =
            targets.iter().map(|part| part.halved.then(|| self.scratch.take(pixels * part.channels))).collect();
        let target = |(part, buffer): (&mut PartBuffer, &mut Option<Buffer>)| {
            let values = buffer.as_deref_mut().unwrap_or(part.values);
            Target { values: Shared::new(values), channels: part.channels }
        };
        let whole: Vec<Target> = targets.iter_mut().zip(&mut upsampled).map(target).collect();
        let layout = Layout::of(self.geometry).of_output();
        let source = layout.copy(self.scratch, dy, 0..layout.all());
        for Class { first, filter } in classes {
            let pixels = Pixels { height, width, stride, first: *first };
            match filter {
                Some(filter) => self.product(&layout, &source, self.outputs, &self.transposed(&layout, *first), filter, &pixels, &whole),
                None => clear(&layout, &pixels, &whole),
            }
        }
        source.give(self.scratch);
        for (part, buffer) in targets.iter_mut().zip(upsampled) {
            let Some(buffer) = buffer else { continue };
            maps::sum_blocks(&buffer, Shape { batch, height: height / 2, width: width / 2, channels: part.channels }, part.values);
            self.scratch.give(buffer);
        }
    }

    /// The same convolution of some images.
    fn of(&self, images: &Range<usize>) -> Self {
        Self { geometry: Geometry { batch: images.len(), ..self.geometry }, ..*self }
    }

    /// Images that are worked on together, if an output pixel takes so many bytes. Every result is of one image alone, so that it
    /// does not depend on this.
    fn image_groups(&self, bytes: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (batch, (height, width)) = (self.geometry.batch, self.geometry.output());
        let together = (self.room / (height * width * bytes)).clamp(1, batch);
        (0..batch).step_by(together).map(move |first| first..(first + together).min(batch))
    }

    /// Rows of the kernel in the forward pass.
    fn rows(&self, layout: &Layout) -> Vec<Run> {
        let (kernel, padding) = (self.geometry.kernel, (self.geometry.kernel / 2) as isize);
        let row = |ty: usize| Run {
            offset: layout.offset(self.inputs, ty as isize - padding, -padding),
            taps: (ty * kernel..(ty + 1) * kernel).collect(),
        };
        (0..kernel).map(row).collect()
    }

    /// Input pixels by their place modulo the stride.
    fn classes(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        let stride = self.geometry.stride;
        (0..stride * stride).map(move |class| [class / stride, class % stride])
    }

    /// Runs of the filter for input pixels `(stride i + cy, stride j + cx)`: tap `ty` brings them to output row
    /// `(stride i + cy + padding - ty) / stride`, where that is whole.
    fn transposed(&self, layout: &Layout, [cy, cx]: [usize; 2]) -> Vec<Run> {
        let Geometry { kernel, stride, .. } = self.geometry;
        let shift = |c: usize, tap: usize| {
            let distance = (c + kernel / 2) as isize - tap as isize;
            (distance.rem_euclid(stride as isize) == 0).then(|| distance.div_euclid(stride as isize))
        };
        // Columns of output pixels in ascending order are taps in descending order.
        let columns: Vec<(usize, isize)> = (0..kernel).rev().filter_map(|tx| Some((tx, shift(cx, tx)?))).collect();
        let Some(&(_, first)) = columns.first() else { return Vec::new() };
        let run = |(ty, dy): (usize, isize)| Run {
            offset: layout.offset(self.outputs, dy, first),
            taps: columns.iter().map(|(tx, _)| ty * kernel + tx).collect(),
        };
        (0..kernel).rev().filter_map(|ty| Some((ty, shift(cy, ty)?))).map(run).collect()
    }
}

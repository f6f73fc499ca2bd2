//! Convolution with bf16 operands, forward and backward-data, as a matrix product: positions of the padded copy x the packed filter.

use std::ops::Range;

use models::graph::Conv;

use super::layout::Layout;
use super::matmul::{OutputGrid, Target, clear};
use super::micro_kernel::TILE;
use super::packed_filter::{TapRun, pack};
use super::{Bf16Buffer, Bf16Isa};
use crate::geometry::Geometry;
use crate::halo_rows::HaloRows;
use crate::maps::{self, Shape};
use crate::panels;
use crate::scratch::{Buffer, Pool, SharedMut};
use crate::winograd::{Part, PartBuffer};

/// A convolution with bf16 operands.
#[derive(Clone, Copy)]
pub struct Bf16Convolution<'a> {
    /// Instruction set, from [`Bf16Isa::available`].
    pub isa: Bf16Isa,
    /// Pool of results.
    pub pool: &'a Pool,
    /// Pool of copies that live during one convolution, from [`Pool::of_any_length`].
    pub scratch: &'a Pool,
    /// Limit in bytes of the copies that live at the same time: images (or splits of a weight gradient) are processed in blocks that fit
    /// this limit, but at least one image, or one split for each thread. Results do not depend on the limit.
    pub workspace_bytes: usize,
    /// Sizes.
    pub geometry: Geometry,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

/// Least number of input and output channels. Convolutions of fewer channels (first layer, head, pixels narrower than a tile) stay f32.
const MIN_CHANNELS: usize = TILE;

/// Reports whether a convolution runs in bf16: 1x1 or 3x3, stride 1 or 2, at least 16 input and output channels, no bias.
pub fn pays(conv: &Conv) -> bool {
    conv.inputs >= MIN_CHANNELS
        && conv.outputs >= MIN_CHANNELS
        && matches!(conv.kernel, 1 | 3)
        && matches!(conv.stride, 1 | 2)
        && !conv.bias
}

/// Default of [`Bf16Convolution::workspace_bytes`], 16 MiB: enough for some threads, and little beside the feature maps of a training step.
pub const WORKSPACE_BYTES: usize = 16 << 20;

/// Packed filter for the input pixels of one phase (position modulo the stride) in backward-data.
struct PhaseFilter {
    /// First row and column of the phase.
    first: [usize; 2],
    /// Filter; none if no tap reads pixels of this phase, whose gradient is 0.
    filter: Option<Bf16Buffer>,
}

/// Returns the parts of some images of a batch.
fn images_of<'a>(parts: &[Part<'a>], batch: usize, images: &Range<usize>) -> Vec<Part<'a>> {
    let select = |part: &Part<'a>| {
        let image = part.values.len() / batch;
        Part { values: &part.values[images.start * image..images.end * image], ..*part }
    };
    parts.iter().map(select).collect()
}

/// Returns the destination of some images of a batch.
fn images_of_mut<'a>(part: &'a mut PartBuffer, batch: usize, images: &Range<usize>) -> PartBuffer<'a> {
    let image = part.values.len() / batch;
    PartBuffer { values: &mut part.values[images.start * image..images.end * image], channels: part.channels, halved: part.halved }
}

impl Bf16Convolution<'_> {
    /// Convolves the concatenated channels of `parts`, `B H W I`, into `out`, `B H' W' O`; `weights` is `[panel][tap][input][16]`.
    pub fn convolve(&self, parts: &[Part], weights: &[f32], out: &mut [f32]) {
        let (batch, (height, width)) = (self.geometry.batch, self.geometry.output());
        assert_eq!(parts.iter().map(|part| part.channels).sum::<usize>(), self.inputs);
        assert_eq!(out.len(), batch * height * width * self.outputs);
        let filter =
            pack(self.scratch, weights, self.inputs, self.geometry.taps(), self.outputs, &self.forward_runs(&Layout::of(self.geometry)));
        let stride = self.geometry.stride;
        for images in self.image_blocks(2 * stride * stride * self.inputs) {
            let out = &mut out[images.start * height * width * self.outputs..images.end * height * width * self.outputs];
            self.for_images(&images).convolve_images(&images_of(parts, batch, &images), &filter, out);
        }
        filter.give(self.scratch);
    }

    /// Convolves one block of images.
    fn convolve_images(&self, parts: &[Part], filter: &Bf16Buffer, out: &mut [f32]) {
        let layout = Layout::of(self.geometry);
        let (height, width) = self.geometry.output();
        let source = layout.padded_copy(self.scratch, parts, 0..layout.padded_positions());
        let pixels = OutputGrid { height, width, stride: 1, first: [0, 0] };
        let targets = [Target { values: SharedMut::new(out), channels: self.outputs }];
        self.matmul(&layout, &source, self.inputs, &self.forward_runs(&layout), filter, &pixels, &targets);
        source.give(self.scratch);
    }

    /// Computes the gradient at the input from the gradient at the output, `dy`, `B H' W' O`.
    ///
    /// Every value of `targets` is overwritten; a pixel of a halved target is the sum of 2x2 gradients.
    pub fn data_gradient(&self, dy: &[f32], weights: &[f32], targets: &mut [PartBuffer]) {
        assert_eq!(targets.iter().map(|part| part.channels).sum::<usize>(), self.inputs);
        let Geometry { batch, height, width, .. } = self.geometry;
        let (taps, dy) = (self.geometry.taps(), Part { values: dy, channels: self.outputs, halved: false, halo: HaloRows::NONE });
        for part in &*targets {
            let half = usize::from(part.halved);
            assert_eq!(part.values.len(), batch * (height >> half) * (width >> half) * part.channels);
        }
        let mut transposed = self.scratch.take(panels::len(self.inputs, self.outputs, taps));
        panels::transpose(weights, self.outputs, self.inputs, taps, &mut transposed);
        let layout = Layout::of(self.geometry).of_output();
        let phases: Vec<PhaseFilter> = self
            .phases()
            .map(|first| {
                let runs = self.backward_runs(&layout, first);
                let filter = (!runs.is_empty()).then(|| pack(self.scratch, &transposed, self.outputs, taps, self.inputs, &runs));
                PhaseFilter { first, filter }
            })
            .collect();
        self.scratch.give(transposed);
        let stride = self.geometry.stride;
        let halved: usize = targets.iter().filter(|part| part.halved).map(|part| part.channels).sum();
        for images in self.image_blocks(2 * self.outputs + 4 * stride * stride * halved) {
            let mut own: Vec<PartBuffer> = targets.iter_mut().map(|part| images_of_mut(part, batch, &images)).collect();
            self.for_images(&images).data_gradient_images(&images_of(&[dy], batch, &images), &phases, &mut own);
        }
        phases.into_iter().filter_map(|phase| phase.filter).for_each(|filter| filter.give(self.scratch));
    }

    /// Computes the gradient at the input for one block of images.
    fn data_gradient_images(&self, dy: &[Part], phases: &[PhaseFilter], targets: &mut [PartBuffer]) {
        let Geometry { batch, height, width, stride, .. } = self.geometry;
        let pixels = batch * height * width;
        let mut upsampled: Vec<Option<Buffer>> =
            targets.iter().map(|part| part.halved.then(|| self.scratch.take(pixels * part.channels))).collect();
        let target = |(part, buffer): (&mut PartBuffer, &mut Option<Buffer>)| {
            let values = buffer.as_deref_mut().unwrap_or(part.values);
            Target { values: SharedMut::new(values), channels: part.channels }
        };
        let whole: Vec<Target> = targets.iter_mut().zip(&mut upsampled).map(target).collect();
        let layout = Layout::of(self.geometry).of_output();
        let source = layout.padded_copy(self.scratch, dy, 0..layout.padded_positions());
        for PhaseFilter { first, filter } in phases {
            let pixels = OutputGrid { height, width, stride, first: *first };
            match filter {
                Some(filter) => self.matmul(&layout, &source, self.outputs, &self.backward_runs(&layout, *first), filter, &pixels, &whole),
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

    /// Returns the same convolution for a block of images.
    fn for_images(&self, images: &Range<usize>) -> Self {
        Self { geometry: Geometry { batch: images.len(), ..self.geometry }, ..*self }
    }

    /// Returns the blocks of images that fit the workspace if an output pixel takes `bytes`. Results do not depend on the blocks, because
    /// each lies within one image.
    fn image_blocks(&self, bytes: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (batch, (height, width)) = (self.geometry.batch, self.geometry.output());
        let images_per_block = (self.workspace_bytes / (height * width * bytes)).clamp(1, batch);
        (0..batch).step_by(images_per_block).map(move |first| first..(first + images_per_block).min(batch))
    }

    /// Returns the runs of the forward pass: the rows of the kernel.
    fn forward_runs(&self, layout: &Layout) -> Vec<TapRun> {
        let (kernel, padding) = (self.geometry.kernel, (self.geometry.kernel / 2) as isize);
        let row = |ty: usize| TapRun {
            offset: layout.offset(self.inputs, ty as isize - padding, -padding),
            taps: (ty * kernel..(ty + 1) * kernel).collect(),
        };
        (0..kernel).map(row).collect()
    }

    /// Returns the phases of input pixels: their row and column modulo the stride.
    fn phases(&self) -> impl Iterator<Item = [usize; 2]> + use<> {
        let stride = self.geometry.stride;
        (0..stride * stride).map(move |class| [class / stride, class % stride])
    }

    /// Returns the runs of backward-data for phase `(cy, cx)`, the input pixels `(stride i + cy, stride j + cx)`: tap `ty` connects them to
    /// output row `(stride i + cy + padding - ty) / stride` if that is a whole number.
    fn backward_runs(&self, layout: &Layout, [cy, cx]: [usize; 2]) -> Vec<TapRun> {
        let Geometry { kernel, stride, .. } = self.geometry;
        let shift = |c: usize, tap: usize| {
            let distance = (c + kernel / 2) as isize - tap as isize;
            (distance.rem_euclid(stride as isize) == 0).then(|| distance.div_euclid(stride as isize))
        };
        // Output pixels in ascending order of columns belong to taps in descending order.
        let columns: Vec<(usize, isize)> = (0..kernel).rev().filter_map(|tx| Some((tx, shift(cx, tx)?))).collect();
        let Some(&(_, first)) = columns.first() else { return Vec::new() };
        let run = |(ty, dy): (usize, isize)| TapRun {
            offset: layout.offset(self.outputs, dy, first),
            taps: columns.iter().map(|(tx, _)| ty * kernel + tx).collect(),
        };
        (0..kernel).rev().filter_map(|ty| Some((ty, shift(cy, ty)?))).map(run).collect()
    }
}

//! Winograd convolution for inference: a filter that is packed once, and post-operations fused into the output transform.

use super::convolve::{Logit, Output, PostOps, is_small};
use super::matrices::COEFFICIENTS;
use super::target::Target;
use super::{Filter, Part, PartBuffer, Winograd};
use crate::epilogue::Epilogue;
use crate::panels;
use crate::scratch::{Buffer, Pool};
use crate::simd::Isa;

/// A 3x3 filter, packed for one instruction set.
///
/// A small filter is stored transformed. A large filter is stored as panels, because its transform has four times as many values, which
/// take longer to load than to recompute.
pub struct PackedFilter {
    values: Buffer,
    isa: Isa,
    is_small: bool,
    inputs: usize,
    outputs: usize,
}

impl PackedFilter {
    /// Packs a 3x3 filter given as panels `[panel][tap][input][16]`; channels are multiples of 16.
    pub fn new(isa: Isa, panels: &[f32], inputs: usize, outputs: usize) -> Self {
        assert!(inputs.is_multiple_of(16) && outputs.is_multiple_of(16));
        assert_eq!(panels.len(), panels::len(outputs, inputs, 9));
        let filter = Filter { panels, inputs, outputs, rotated: false };
        let (pool, is_small) = (Pool::new(), is_small(&filter));
        let values = if is_small {
            let mut coefficients = pool.take(COEFFICIENTS * inputs * outputs);
            let grid = super::Grid { batch: 1, height: 1, width: 1 };
            Winograd { isa, pool: &pool, grid }.transform_filter(filter, &mut coefficients);
            coefficients
        } else {
            let mut copy = pool.take(panels.len());
            copy.copy_from_slice(panels);
            copy
        };
        Self { values, isa, is_small, inputs, outputs }
    }

    /// Reports whether the filter is small enough for [`Winograd::convolve_to_logit`].
    pub fn is_small(&self) -> bool {
        self.is_small
    }
}

impl Winograd<'_> {
    /// Convolves the concatenated channels of `sources` into `out`, `B H W O`, and applies the epilogue.
    pub fn convolve_packed(&self, sources: &[Part], filter: &PackedFilter, epilogue: Epilogue, out: &mut [f32]) {
        self.check(out.len(), filter.outputs, false);
        epilogue.check(filter.outputs, out.len());
        let targets = [PartBuffer { values: out, channels: filter.outputs, halved: false }.target()];
        self.run(sources, filter, &targets, PostOps { epilogue, logit: None });
    }

    /// Convolves as [`Winograd::convolve_packed`] does and applies a fused 1x1 convolution with one output channel: `out` is `B H W`.
    ///
    /// # Panics
    /// If the filter is not [small](PackedFilter::is_small).
    pub fn convolve_to_logit(&self, sources: &[Part], filter: &PackedFilter, epilogue: Epilogue, logit: Logit, out: &mut [f32]) {
        let pixels = self.grid.batch * self.grid.height * self.grid.width;
        assert!(filter.is_small && logit.weights.len() == filter.outputs && out.len() == pixels);
        epilogue.check(filter.outputs, pixels * filter.outputs);
        let targets = [PartBuffer { values: out, channels: 1, halved: false }.target()];
        self.run(sources, filter, &targets, PostOps { epilogue, logit: Some(logit) });
    }

    fn run(&self, sources: &[Part], filter: &PackedFilter, targets: &[Target], post_ops: PostOps) {
        assert_eq!(sources.iter().map(|part| part.channels).sum::<usize>(), filter.inputs);
        assert_eq!(self.isa, filter.isa, "the filter was packed for another instruction set");
        sources.iter().for_each(|part| self.check_part(part));
        let output = Output { targets, post_ops: Some(post_ops) };
        if filter.is_small {
            self.convolve_by_tiles(sources, &filter.values, [filter.inputs, filter.outputs], output);
        } else {
            let panels = Filter { panels: &filter.values, inputs: filter.inputs, outputs: filter.outputs, rotated: false };
            self.convolve_by_panels(sources, panels, output);
        }
    }
}

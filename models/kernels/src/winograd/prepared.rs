//! A filter that is used many times, and a convolution with everything that follows it.

use super::convolve::{Logit, Output, Then, is_small};
use super::matrices::PLACES;
use super::target::Target;
use super::{Filter, Part, PartBuffer, Winograd};
use crate::epilogue::Epilogue;
use crate::panels;
use crate::scratch::{Buffer, Pool};
use crate::simd::Isa;

/// A filter in the form in which tiles meet it: in places where these are few, else in panels, whose places are four times as many
/// values and made again faster than fetched.
pub struct Prepared {
    values: Buffer,
    isa: Isa,
    is_small: bool,
    inputs: usize,
    outputs: usize,
}

impl Prepared {
    /// From panels `[panel][tap][input][16]` of a 3x3 filter; channels are multiples of 16.
    pub fn new(isa: Isa, panels: &[f32], inputs: usize, outputs: usize) -> Self {
        assert!(inputs.is_multiple_of(16) && outputs.is_multiple_of(16));
        assert_eq!(panels.len(), panels::len(outputs, inputs, 9));
        let filter = Filter { panels, inputs, outputs, turned: false };
        let (pool, is_small) = (Pool::new(), is_small(&filter));
        let values = if is_small {
            let mut places = pool.take(PLACES * inputs * outputs);
            let grid = super::Grid { batch: 1, height: 1, width: 1 };
            Winograd { isa, pool: &pool, grid }.places_of_filter(filter, &mut places);
            places
        } else {
            let mut copy = pool.take(panels.len());
            copy.copy_from_slice(panels);
            copy
        };
        Self { values, isa, is_small, inputs, outputs }
    }

    /// Whether [`Winograd::convolve_to_logit`] takes it.
    pub fn is_small(&self) -> bool {
        self.is_small
    }
}

impl Winograd<'_> {
    /// Convolves the channels of all `sources`, which follow one another, into `out`, finished.
    pub fn convolve_prepared(&self, sources: &[Part], filter: &Prepared, finish: Epilogue, out: &mut [f32]) {
        self.check(out.len(), filter.outputs, false);
        finish.check(filter.outputs, out.len());
        let targets = [PartBuffer { values: out, channels: filter.outputs, halved: false }.target()];
        self.run(sources, filter, &targets, Then { finish, logit: None });
    }

    /// The same and a 1x1 convolution with one output behind it: `out` has a value for each pixel. The filter must be small.
    pub fn convolve_to_logit(&self, sources: &[Part], filter: &Prepared, finish: Epilogue, logit: Logit, out: &mut [f32]) {
        let pixels = self.grid.batch * self.grid.height * self.grid.width;
        assert!(filter.is_small && logit.weights.len() == filter.outputs && out.len() == pixels);
        finish.check(filter.outputs, pixels * filter.outputs);
        let targets = [PartBuffer { values: out, channels: 1, halved: false }.target()];
        self.run(sources, filter, &targets, Then { finish, logit: Some(logit) });
    }

    fn run(&self, sources: &[Part], filter: &Prepared, targets: &[Target], then: Then) {
        assert_eq!(sources.iter().map(|part| part.channels).sum::<usize>(), filter.inputs);
        assert_eq!(self.isa, filter.isa, "the filter was prepared for other registers");
        sources.iter().for_each(|part| self.check_part(part));
        let output = Output { targets, then: Some(then) };
        if filter.is_small {
            self.by_tiles(sources, &filter.values, [filter.inputs, filter.outputs], output);
        } else {
            let panels = Filter { panels: &filter.values, inputs: filter.inputs, outputs: filter.outputs, turned: false };
            self.by_panels(sources, panels, output);
        }
    }
}

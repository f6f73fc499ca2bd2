//! Receptive field of a step: the rows of an input that it reads for some rows of its output.

use std::ops::Range;

use kernels::HaloRows;

use super::fuse::Source;
use super::program::{Step, StepOp};

/// Dependence of output rows on the rows of one input: an optional upsampling by 2, then a window of `kernel` rows with a stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceptiveField {
    /// Number of (upsampled) input rows that an output row reads, odd.
    pub kernel: usize,
    /// Distance between the windows of neighbouring output rows, 1 or 2.
    pub stride: usize,
    /// True if the input has half the resolution and is upsampled while it is read.
    pub halved: bool,
}

impl Step {
    /// Returns the values that the step reads, each with its receptive field.
    pub fn reads(&self) -> impl Iterator<Item = (usize, ReceptiveField)> {
        let sources = self.sources.iter().map(|source| (source.value, ReceptiveField::of(self, source)));
        sources.chain(self.residual.map(|residual| (residual, ReceptiveField::POINTWISE)))
    }
}

impl ReceptiveField {
    /// Field of an operation that reads the input only at the position of the output.
    pub const POINTWISE: Self = Self { kernel: 1, stride: 1, halved: false };

    /// Returns the receptive field of a step on one of its sources.
    pub fn of(step: &Step, source: &Source) -> Self {
        let [kernel, stride] = match &step.op {
            StepOp::Conv(conv) => [conv.kernel, conv.stride],
            StepOp::Depthwise { stride, .. } => [3, *stride],
            StepOp::InvertedResidual(block) => [3, block.stride],
            StepOp::MaxPool => [3, 2],
            StepOp::Image { .. }
            | StepOp::Affine { .. }
            | StepOp::Activation
            | StepOp::Add(_)
            | StepOp::Upsample
            | StepOp::Concat
            | StepOp::Difference(_) => [1, 1],
        };
        Self { kernel, stride, halved: source.halved || matches!(step.op, StepOp::Upsample) }
    }

    /// Returns the input rows that `output_rows` read, out of `total`, and how many of these rows are halo above and below.
    pub fn input_rows(self, output_rows: &Range<usize>, total: usize) -> (Range<usize>, HaloRows) {
        let (radius, scale) = (self.kernel / 2, 1 + usize::from(self.halved));
        let core = output_rows.start * self.stride / scale..output_rows.end * self.stride / scale;
        let last = (output_rows.end * self.stride + radius).saturating_sub(self.stride - 1);
        let start = (output_rows.start * self.stride).saturating_sub(radius) / scale;
        let input_rows = start..last.div_ceil(scale).clamp(core.end, total.max(core.end));
        let halo = HaloRows { above: core.start - input_rows.start, below: input_rows.end - core.end };
        (input_rows, halo)
    }

    /// Returns how many of `output_total` output rows can be computed from the first `available` of `input_total` input rows.
    pub fn computable_rows(self, available: usize, input_total: usize, output_total: usize) -> usize {
        if available == input_total {
            return output_total;
        }
        let available = available << usize::from(self.halved);
        let computable = ((available + self.stride - 1).saturating_sub(self.kernel / 2) / self.stride).min(available / self.stride);
        // The two output rows of one row of a halved input are computed together.
        if self.halved { computable / 2 * 2 } else { computable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input rows that the taps of one output row read, by the definition of a convolution with zero padding.
    fn taps(field: ReceptiveField, row: usize, total: usize) -> impl Iterator<Item = usize> {
        let scale = 1 + usize::from(field.halved);
        let taps = (0..field.kernel).map(move |tap| (row * field.stride + tap).wrapping_sub(field.kernel / 2));
        taps.filter(move |y| *y < total * scale).map(move |y| y / scale)
    }

    #[test]
    fn input_rows_cover_all_taps_and_computable_rows_are_maximal() {
        let kinds = [(1, 1, false), (3, 1, false), (3, 1, true), (1, 1, true), (3, 2, false), (7, 2, false), (1, 2, false), (5, 1, false)];
        for (kernel, stride, halved) in kinds {
            let field = ReceptiveField { kernel, stride, halved };
            let total = 24;
            let output_total = if halved { 2 * total } else { total / stride };
            let step = if halved { 2 } else { 1 };
            for start in (0..output_total).step_by(step) {
                for end in (start + step..=output_total).step_by(step) {
                    let (rows, halo) = field.input_rows(&(start..end), total);
                    let tapped: Vec<usize> = (start..end).flat_map(|row| taps(field, row, total)).collect();
                    assert!(tapped.iter().all(|y| rows.contains(y)), "{field:?} {start}..{end}: {rows:?}");
                    let core = (end - start) * stride / (1 + usize::from(halved));
                    assert_eq!((halo.rows(core), rows.end <= total), (rows.len(), true));
                }
            }
            for available in 0..=total {
                let computable = field.computable_rows(available, total, output_total);
                if computable > 0 {
                    assert!(field.input_rows(&(0..computable), total).0.end <= available, "{field:?}: {computable} from {available}");
                }
                let next = computable + step;
                let needs_more = next > output_total || field.input_rows(&(0..next), total).0.end > available;
                assert!(needs_more, "{field:?}: more than {computable} from {available}");
            }
        }
    }
}

//! Which rows of a map a step reads for some rows of its result.

use std::ops::Range;

use kernels::HaloRows;

use super::fuse::Source;
use super::program::{Step, Work};

/// How rows of a result depend on rows of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Rows that a row of the result reads.
    pub side: usize,
    /// Rows of the (enlarged) map for one of the result.
    pub stride: usize,
    /// Whether a row of the map stands for two.
    pub halved: bool,
}

impl Step {
    /// The values that it reads, and how.
    pub fn reads(&self) -> impl Iterator<Item = (usize, Reach)> {
        let sources = self.sources.iter().map(|source| (source.value, Reach::of(self, source)));
        sources.chain(self.plus.map(|plus| (plus, Reach::SAME)))
    }
}

impl Reach {
    /// Of a map at the same place.
    pub const SAME: Self = Self { side: 1, stride: 1, halved: false };

    /// Of a step on one of its sources.
    pub fn of(step: &Step, source: &Source) -> Self {
        let [side, stride] = match &step.work {
            Work::Conv(conv) => [conv.kernel, conv.stride],
            Work::Depthwise { stride, .. } => [3, *stride],
            Work::InvertedResidual(block) => [3, block.stride],
            Work::MaxPool => [3, 2],
            Work::Image { .. }
            | Work::Affine { .. }
            | Work::Activate
            | Work::Add(_)
            | Work::Upsample
            | Work::Concat
            | Work::Difference(_) => [1, 1],
        };
        Self { side, stride, halved: source.halved || matches!(step.work, Work::Upsample) }
    }

    /// The rows of a map of `total` rows that results `rows` read, and which of them lie around those that the results stand for.
    pub fn reads(self, rows: &Range<usize>, total: usize) -> (Range<usize>, HaloRows) {
        let (half, scale) = (self.side / 2, 1 + usize::from(self.halved));
        let own = rows.start * self.stride / scale..rows.end * self.stride / scale;
        let last = (rows.end * self.stride + half).saturating_sub(self.stride - 1);
        let start = (rows.start * self.stride).saturating_sub(half) / scale;
        let read = start..last.div_ceil(scale).clamp(own.end, total.max(own.end));
        let margin = HaloRows { above: own.start - read.start, below: read.end - own.end };
        (read, margin)
    }

    /// How many of `results` rows can be computed from the first `end` of a map's `total` rows.
    pub fn until(self, end: usize, total: usize, results: usize) -> usize {
        if end == total {
            return results;
        }
        let end = end << usize::from(self.halved);
        let until = ((end + self.stride - 1).saturating_sub(self.side / 2) / self.stride).min(end / self.stride);
        // An enlarged map is read from a whole row on.
        if self.halved { until / 2 * 2 } else { until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition: the rows that taps of one result meet.
    fn taps(reach: Reach, row: usize, total: usize) -> impl Iterator<Item = usize> {
        let scale = 1 + usize::from(reach.halved);
        let taps = (0..reach.side).map(move |tap| (row * reach.stride + tap).wrapping_sub(reach.side / 2));
        taps.filter(move |y| *y < total * scale).map(move |y| y / scale)
    }

    #[test]
    fn what_is_read_is_what_taps_meet_and_what_is_there_suffices() {
        let kinds = [(1, 1, false), (3, 1, false), (3, 1, true), (1, 1, true), (3, 2, false), (7, 2, false), (1, 2, false), (5, 1, false)];
        for (side, stride, halved) in kinds {
            let reach = Reach { side, stride, halved };
            let total = 24;
            let results = if halved { 2 * total } else { total / stride };
            let step = if halved { 2 } else { 1 };
            for start in (0..results).step_by(step) {
                for end in (start + step..=results).step_by(step) {
                    let (read, margin) = reach.reads(&(start..end), total);
                    let met: Vec<usize> = (start..end).flat_map(|row| taps(reach, row, total)).collect();
                    assert!(met.iter().all(|y| read.contains(y)), "{reach:?} {start}..{end}: {read:?}");
                    let own = (end - start) * stride / (1 + usize::from(halved));
                    assert_eq!((margin.rows(own), read.end <= total), (read.len(), true));
                }
            }
            for end in 0..=total {
                let until = reach.until(end, total, results);
                if until > 0 {
                    assert!(reach.reads(&(0..until), total).0.end <= end, "{reach:?}: {until} from {end}");
                }
                let next = until + step;
                assert!(next > results || reach.reads(&(0..next), total).0.end > end, "{reach:?}: not only {until} from {end}");
            }
        }
    }
}

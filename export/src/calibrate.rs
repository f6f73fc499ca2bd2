//! Calibration for 8-bit arithmetic: the range of each feature map, measured on real tiles.
//!
//! A wide range rounds coarsely, a narrow one clips. Candidate ranges are fractions of the observed range; the candidate with the smallest
//! expected squared error wins, where a value inside contributes the rounding error step^2 / 12 and a value outside its squared distance to
//! the nearer end (Banner, Nahshan, Soudry, "Post training 4-bit quantization of convolutional networks for rapid-deployment", `NeurIPS`
//! 2019).

use std::collections::BTreeMap;

use infer::segmenter;
use infer::watcher::Watcher;
use models::graph::{FeatureTap, Graph, NodeId, Op};
use models::weights::Weights;
use support::Result;

use crate::writer::{self, Arithmetic};

/// Bins of the histogram of each feature map.
const BINS: usize = 2048;
/// Candidate ranges as fractions of the observed range, in twentieths.
const FRACTIONS: std::ops::RangeInclusive<usize> = 6..=20;

/// Observed range of a feature map (always with 0 in it) and a histogram over that range.
struct Histogram {
    low: f32,
    high: f32,
    counts: Vec<u64>,
}

/// Measures the range of every feature map that is stored in 8 bits, by the name of its node. `tiles` are square images `H W 3` with their
/// side in pixels; each is run twice, for the range and for the histogram.
///
/// # Errors
/// ONNX Runtime cannot be loaded or fails on a tile.
pub fn ranges(
    graph: &Graph,
    weights: &Weights,
    tiles: &[(Vec<u8>, usize)],
    run: &segmenter::Options,
) -> Result<BTreeMap<String, [f32; 2]>> {
    let quantised = writer::integer_values(graph);
    let feature_taps = quantised.iter().map(|&node| FeatureTap { name: graph.node(node).name.clone(), node }).collect();
    let exposed = Graph { feature_taps, ..graph.clone() };
    let written = writer::write(&exposed, weights, &Arithmetic::F32, &BTreeMap::new())?;
    let mut watcher = Watcher::new(&written.bytes, run)?;
    let mut all = BTreeMap::<String, Histogram>::new();
    for (image, side) in tiles {
        watcher.run(image, [1, *side, *side], |name, values| {
            let histogram = all.entry(name.to_owned()).or_insert_with(|| Histogram { low: 0.0, high: 0.0, counts: vec![0; BINS] });
            histogram.widen(values);
        })?;
    }
    for (image, side) in tiles {
        watcher.run(image, [1, *side, *side], |name, values| {
            if let Some(histogram) = all.get_mut(name) {
                histogram.count(values);
            }
        })?;
    }
    let mut ranges = BTreeMap::new();
    for id in quantised {
        let range = range_of(graph, id, &ranges, &all);
        ranges.insert(graph.node(id).name.clone(), range);
    }
    Ok(ranges)
}

/// Chooses the range of one node. Pooling and upsampling inherit the range of their input, because runtimes then move bytes without
/// requantising; the image keeps its whole range.
fn range_of(graph: &Graph, id: NodeId, before: &BTreeMap<String, [f32; 2]>, all: &BTreeMap<String, Histogram>) -> [f32; 2] {
    let node = graph.node(id);
    let inherited = node.inputs.first().and_then(|input| before.get(&graph.node(*input).name)).copied();
    match (&node.op, inherited) {
        (Op::MaxPool | Op::Upsample, Some(range)) => range,
        (Op::InputImage { .. }, _) => all[&writer::value_name(graph, id)].whole(),
        _ => all[&writer::value_name(graph, id)].best(),
    }
}

impl Histogram {
    /// Extends the observed range.
    fn widen(&mut self, values: &[f32]) {
        for &v in values {
            self.low = self.low.min(v);
            self.high = self.high.max(v);
        }
    }

    /// Counts values into the bins of the final range.
    fn count(&mut self, values: &[f32]) {
        let scale = BINS as f32 / (self.high - self.low).max(f32::MIN_POSITIVE);
        for &v in values {
            self.counts[(((v - self.low) * scale) as usize).min(BINS - 1)] += 1;
        }
    }

    fn whole(&self) -> [f32; 2] {
        [self.low, self.high]
    }

    /// The candidate range with the smallest error.
    fn best(&self) -> [f32; 2] {
        let candidates = FRACTIONS.map(|twentieths| [self.low, self.high].map(|end| end * twentieths as f32 / 20.0));
        candidates.min_by(|a, b| self.error(*a).total_cmp(&self.error(*b))).expect("the candidates are not empty")
    }

    /// Expected squared error (up to a constant factor) of rounding to 255 steps within the range `low..=high` and clipping outside.
    fn error(&self, [low, high]: [f32; 2]) -> f64 {
        let (low, high) = (f64::from(low), f64::from(high));
        let width = f64::from(self.high - self.low) / BINS as f64;
        let inside = ((high - low) / 255.0).powi(2) / 12.0;
        let of = |(bin, &count): (usize, &u64)| {
            let v = f64::from(self.low) + (bin as f64 + 0.5) * width;
            count as f64 * (inside + (v - v.clamp(low, high)).powi(2))
        };
        self.counts.iter().enumerate().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_is_clipped_and_a_uniform_distribution_is_not() {
        let mut histogram = Histogram { low: 0.0, high: 1.0, counts: vec![1_000_000; BINS] };
        assert_eq!(histogram.best(), [0.0, 1.0]);
        histogram.counts[200..].fill(0);
        histogram.counts[BINS - 1] = 1;
        assert!(histogram.best()[1] < 0.5, "{:?}", histogram.best());
    }
}

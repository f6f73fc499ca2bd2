//! Ranges of a network's values on real tiles, for 8-bit arithmetic.
//!
//! A wide range rounds coarsely, a narrow one clips. Of some fractions of the seen range the one is taken whose expected squared error is
//! smallest: step^2 / 12 for what lies inside, the distance to the end for what is cut off (Banner, Nahshan, Soudry, "Post training 4-bit
//! quantization of convolutional networks for rapid-deployment", `NeurIPS` 2019).

use std::collections::BTreeMap;

use infer::segmenter;
use infer::watcher::Watcher;
use models::graph::{FeatureTap, Graph, NodeId, Op};
use models::weights::Weights;
use support::Result;

use crate::writer::{self, Arithmetic};

const BINS: usize = 2048;
/// Fractions of the seen range that are tried, in twentieths.
const FRACTIONS: std::ops::RangeInclusive<usize> = 6..=20;

/// What was seen of one value.
struct Seen {
    low: f32,
    high: f32,
    counts: Vec<u64>,
}

/// The range of every value that is held in 8 bits, by the name of its node. `tiles`: images `H W 3` and their side.
pub fn ranges(
    graph: &Graph,
    weights: &Weights,
    tiles: &[(Vec<u8>, usize)],
    run: &segmenter::Options,
) -> Result<BTreeMap<String, [f32; 2]>> {
    let watched = writer::integer_values(graph);
    let taps = watched.iter().map(|&node| FeatureTap { name: graph.node(node).name.clone(), node }).collect();
    let open = Graph { taps, ..graph.clone() };
    let written = writer::write(&open, weights, &Arithmetic::F32, &BTreeMap::new())?;
    let mut watcher = Watcher::new(&written.bytes, run)?;
    let mut all = BTreeMap::<String, Seen>::new();
    for (image, side) in tiles {
        watcher.run(image, [1, *side, *side], |name, values| {
            let seen = all.entry(name.to_owned()).or_insert_with(|| Seen { low: 0.0, high: 0.0, counts: vec![0; BINS] });
            seen.widen(values);
        })?;
    }
    for (image, side) in tiles {
        watcher.run(image, [1, *side, *side], |name, values| {
            if let Some(seen) = all.get_mut(name) {
                seen.count(values);
            }
        })?;
    }
    let mut ranges = BTreeMap::new();
    for id in watched {
        let range = range_of(graph, id, &ranges, &all);
        ranges.insert(graph.node(id).name.clone(), range);
    }
    Ok(ranges)
}

/// Maps that only move values keep the scale of what they move: runtimes then do it on bytes.
fn range_of(graph: &Graph, id: NodeId, before: &BTreeMap<String, [f32; 2]>, all: &BTreeMap<String, Seen>) -> [f32; 2] {
    let node = graph.node(id);
    let inherited = node.inputs.first().and_then(|input| before.get(&graph.node(*input).name)).copied();
    match (&node.op, inherited) {
        (Op::MaxPool | Op::Upsample, Some(range)) => range,
        (Op::InputImage { .. }, _) => all[&writer::value_name(graph, id)].whole(),
        _ => all[&writer::value_name(graph, id)].best(),
    }
}

impl Seen {
    fn widen(&mut self, values: &[f32]) {
        for &v in values {
            self.low = self.low.min(v);
            self.high = self.high.max(v);
        }
    }

    fn count(&mut self, values: &[f32]) {
        let scale = BINS as f32 / (self.high - self.low).max(f32::MIN_POSITIVE);
        for &v in values {
            self.counts[(((v - self.low) * scale) as usize).min(BINS - 1)] += 1;
        }
    }

    fn whole(&self) -> [f32; 2] {
        [self.low, self.high]
    }

    fn best(&self) -> [f32; 2] {
        let candidates = FRACTIONS.map(|twentieths| [self.low, self.high].map(|end| end * twentieths as f32 / 20.0));
        candidates.min_by(|a, b| self.error(*a).total_cmp(&self.error(*b))).expect("there are fractions")
    }

    /// Expected squared error, up to a factor, of rounding to 255 steps within a range and cutting off beyond.
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
    fn a_lone_outlier_is_cut_off_and_an_even_spread_is_not() {
        let mut even = Seen { low: 0.0, high: 1.0, counts: vec![1_000_000; BINS] };
        assert_eq!(even.best(), [0.0, 1.0]);
        even.counts[200..].fill(0);
        even.counts[BINS - 1] = 1;
        assert!(even.best()[1] < 0.5, "{:?}", even.best());
    }
}

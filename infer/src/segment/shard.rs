//! Division of work over machines: of a list of slides, or of the bands of one slide.

use std::ops::Range;
use std::str::FromStr;

/// Part `index` of `count` equal parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Number of the part, from 0.
    pub index: usize,
    /// Number of parts.
    pub count: usize,
}

impl Shard {
    /// Returns the bands of this shard, of a slide of `bands` bands.
    pub fn bands(self, bands: usize) -> Range<usize> {
        self.index * bands / self.count..(self.index + 1) * bands / self.count
    }

    /// Returns the slides of this shard: every `count`-th one, from slide `index` on.
    pub fn slides<T>(self, slides: &[T]) -> impl Iterator<Item = &T> {
        slides.iter().skip(self.index).step_by(self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// Parses `K/N`, with K counted from 1.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse::<usize>().ok()?, n.parse::<usize>().ok()?)));
        match parts {
            Some((k, n)) if (1..=n).contains(&k) => Ok(Self { index: k - 1, count: n }),
            _ => Err(format!("expected K/N with K from 1 to N, for example 2/8, found {text:?}")),
        }
    }
}

/// Progress report of one shard of a slide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardReport {
    /// Number of bands that this run computed.
    pub computed: usize,
    /// Number of bands on disk, of all shards.
    pub stored: usize,
    /// Number of bands of the slide.
    pub bands: usize,
}

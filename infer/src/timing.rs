//! Where time goes: seconds that each stage was busy, summed over its threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A clock that many threads add to.
#[derive(Default)]
pub struct Stage(AtomicU64);

impl Stage {
    /// Does `work` and adds the time it took.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        self.0.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// Seconds so far.
    pub fn seconds(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// The stages of a slide.
#[derive(Default)]
pub struct StageTimings {
    /// Hashing the slide file.
    pub hash: Stage,
    /// Reading, decoding and resampling windows.
    pub read: Stage,
    /// Making the slide small, for tissue and overlay.
    pub small: Stage,
    /// The network.
    pub network: Stage,
    /// Putting cores into bands.
    pub stitch: Stage,
    /// Pixels of bands read again for colours, and cells judged.
    pub pixels: Stage,
    /// Components, boundaries, filling.
    pub instances: Stage,
    /// Measuring and writing nuclei and the mask.
    pub nuclei: Stage,
    /// Writing the probability map.
    pub probability: Stage,
    /// Storing bands for a later run.
    pub store: Stage,
}

impl StageTimings {
    /// Seconds by stage.
    pub fn seconds(&self) -> BTreeMap<String, f64> {
        let stages = [
            ("hash", &self.hash),
            ("read", &self.read),
            ("small", &self.small),
            ("network", &self.network),
            ("stitch", &self.stitch),
            ("pixels", &self.pixels),
            ("instances", &self.instances),
            ("nuclei", &self.nuclei),
            ("probability", &self.probability),
            ("store", &self.store),
        ];
        stages.map(|(name, stage)| (name.to_owned(), (stage.seconds() * 1e3).round() / 1e3)).into()
    }
}

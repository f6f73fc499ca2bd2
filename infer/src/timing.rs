//! Time that each stage of a run works, summed over its threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Clock of one stage, which many threads add to.
#[derive(Default)]
pub struct StageClock(AtomicU64);

impl StageClock {
    /// Runs `work` and adds its duration.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        self.0.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// Returns the sum in seconds.
    pub fn seconds(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// Clocks of the stages of a slide.
#[derive(Default)]
pub struct StageTimings {
    /// Hashing of the slide file.
    pub hash: StageClock,
    /// Reading, decoding and resampling of windows.
    pub read: StageClock,
    /// Reading the overview, for tissue and overlay.
    pub small: StageClock,
    /// Network.
    pub network: StageClock,
    /// Stitching of cores to bands.
    pub stitch: StageClock,
    /// Reading the pixels of strips again for colours, and measuring the quality of grid tiles.
    pub pixels: StageClock,
    /// Extraction of instances: components, boundaries, filling.
    pub instances: StageClock,
    /// Measuring and writing of nuclei and of the mask.
    pub nuclei: StageClock,
    /// Writing of the probability map.
    pub probability: StageClock,
    /// Storing of bands for `resume`.
    pub store: StageClock,
}

impl StageTimings {
    /// Returns the seconds of each stage, rounded to milliseconds.
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

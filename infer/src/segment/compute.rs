//! Bands from the networks or the store, and one thread for each consumer: probability map, quality, extraction, nuclei, storage.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use models::card::ModelCard;
use support::console::Progress;
use support::threads::{self, join};
use support::{Result, bail};

use super::consumers::{Sinks, extract, write_nuclei, write_probability};
use super::plan::Plan;
use super::store::Store;
use super::{Shard, ShardReport};
use crate::instances::{Extractor, FinishedInstances};
use crate::network::Network;
use crate::output::Files;
use crate::output::overlay::Overlay;
use crate::output::summary::NucleusFacts;
use crate::output::writers::{Source, Wanted, Writers};
use crate::pipeline::{self, Band, Job};
use crate::pyramid::PyramidWriter;
use crate::quality::status::QualityFacts;
use crate::quality::{PixelStrip, Quality};
use slides::{LostTile, ScaledSlide};

/// Maximum bytes of a band for which each writer has a queue of one further band; larger bands are not queued.
const SMALL_BAND_BYTES: usize = 4 << 20;

/// Results of one slide that are not in files.
pub(super) struct Computed {
    pub(super) nuclei: NucleusFacts,
    pub(super) quality: QualityFacts,
    /// Remark for the summary, if a file was not written.
    pub(super) note: Option<String>,
    /// Tiles that could not be read, in this run or in the runs that it resumes.
    pub(super) lost: Vec<LostTile>,
    /// Time from the first window to the last nucleus.
    pub(super) seconds: f64,
}

impl Plan<'_> {
    /// Computes the bands that are not stored yet, and writes all bands and their nuclei to files.
    pub(super) fn compute(
        &self,
        card: &ModelCard,
        networks: &mut [Box<dyn Network>],
        source: &Source<'_>,
        files: &mut Files,
        store: &Store,
        progress: &dyn Progress,
    ) -> Result<Computed> {
        let [width, height] = self.scale.size_px;
        let probability = PyramidWriter::new(files.create("probability.tif")?, width, height, 1, self.scale.effective_mpp)?;
        let overlay = Overlay::new([width, height], self.overview()?);
        let writers = Writers::new(
            files,
            &Wanted { extra: &self.options.extra, outlines: &self.options.outlines },
            source,
            &self.scale,
            self.frame,
            overlay,
        )?;
        let lost = Mutex::new(BTreeSet::new());
        let began = Instant::now();
        let (probability, writers, quality) = self.compute_bands(card, networks, (probability, writers), (store, &lost), progress)?;
        let seconds = began.elapsed().as_secs_f64();
        files.add(probability.finish()?);
        let (nuclei, note) = writers.finish(files)?;
        let (map, quality) = quality.finish(files.create("quality.tif")?, self.scale.effective_mpp)?;
        files.add(map);
        let mut lost = lost.into_inner().expect("no panic while lost tiles are recorded");
        lost.extend(self.lost_tiles());
        Ok(Computed { nuclei, quality, note, lost: lost.into_iter().collect(), seconds })
    }

    /// Runs the networks on this thread's scope and one thread for each consumer of bands, strips and instances.
    fn compute_bands(
        &self,
        card: &ModelCard,
        networks: &mut [Box<dyn Network>],
        (probability, writers): (PyramidWriter, Writers),
        (store, lost): (&Store, &Mutex<BTreeSet<LostTile>>),
        progress: &dyn Progress,
    ) -> Result<(PyramidWriter, Writers, Quality)> {
        let [width, height] = self.scale.size_px;
        let (timings, count) = (self.timings, AtomicUsize::new(0));
        let extractor = Extractor::new(width, height, &card.decoding);
        thread::scope(|scope| {
            let capacity = self.queue_capacity();
            let (probability_in, probability_bands) = sync_channel::<Arc<Band>>(capacity);
            let (bands_in, bands) = sync_channel::<Arc<Band>>(capacity);
            let (storage_in, to_store) = sync_channel::<Arc<Band>>(capacity);
            let (strips_in, strips) = sync_channel::<PixelStrip>(0);
            let (finished_in, finished_instances) = sync_channel::<FinishedInstances>(2);
            let probability = threads::start(scope, move || write_probability(probability, &probability_bands, timings))?;
            let nuclei = threads::start(scope, move || write_nuclei(writers, &finished_instances, timings))?;
            let storing = threads::start(scope, move || to_store.iter().try_for_each(|band| self.store_band(store, &band)))?;
            let measuring = threads::start(scope, move || {
                let mut quality = Quality::new(width, card.training.colours.clone(), self.expected_entropy);
                self.cut_into_strips(&bands, &mut quality, |strip| strips_in.send(strip).is_ok()).map(|()| quality)
            })?;
            let count = &count;
            let extraction = threads::start(scope, move || {
                extract(extractor, height, &strips, timings, |finished| {
                    count.fetch_add(finished.instances.len(), Ordering::Relaxed);
                    finished_in.send(finished).is_ok()
                });
            })?;
            let sinks = Sinks { plan: self, store, lost, next: 0, storage: storage_in, probability: probability_in, bands: bands_in };
            let computed = self.fill_sinks(networks, sinks, progress, &|| format!("{} nuclei", count.load(Ordering::Relaxed)));
            join(extraction);
            let (probability, writers, quality, stored) = (join(probability), join(nuclei), join(measuring), join(storing));
            let results = (probability?, writers?, quality?);
            stored.and(computed).map(|()| results)
        })
    }

    /// Sends all bands to the sinks in order: those of the store, and those that the networks compute, which are stored too.
    fn fill_sinks(
        &self,
        networks: &mut [Box<dyn Network>],
        mut sinks: Sinks<'_>,
        progress: &dyn Progress,
        text: &dyn Fn() -> String,
    ) -> Result<()> {
        let bands = self.grid.bands().len();
        let missing: Vec<usize> = (0..bands).filter(|&band| sinks.store.get(band).is_none()).collect();
        self.run(networks, &missing, progress, text, |band| {
            let band = Arc::new(band);
            // A single band is not stored, because its results follow at once.
            if bands > 1 && sinks.storage.send(band.clone()).is_err() {
                bail!("storing bands stopped");
            }
            sinks.take_stored_until(band.index)?;
            sinks.take(band)
        })?;
        sinks.take_stored_until(bands)
    }

    /// Returns the number of bands that may wait for each writer, besides the band that it works on.
    fn queue_capacity(&self) -> usize {
        let rows = self.grid.bands().iter().map(|band| band.core_length).max().unwrap_or(0);
        usize::from(rows * self.grid.image[0] <= SMALL_BAND_BYTES)
    }

    /// Computes and stores the bands of a shard that are not stored yet.
    pub(super) fn compute_shard(
        &self,
        networks: &mut [Box<dyn Network>],
        store: &Store,
        shard: Shard,
        progress: &dyn Progress,
    ) -> Result<ShardReport> {
        let bands = self.grid.bands().len();
        let missing: Vec<usize> = shard.bands(bands).filter(|&band| store.get(band).is_none()).collect();
        self.run(networks, &missing, progress, &String::new, |band| self.store_band(store, &band))?;
        let on_disk = (0..bands).filter(|&band| store.get(band).is_some()).count();
        Ok(ShardReport { computed: missing.len(), stored: on_disk, bands })
    }

    /// Runs the pipeline over some bands; probabilities are 0 outside of tissue. `text` is shown beside the progress.
    pub(super) fn run(
        &self,
        networks: &mut [Box<dyn Network>],
        bands: &[usize],
        progress: &dyn Progress,
        text: &dyn Fn() -> String,
        mut on_band: impl FnMut(Band) -> Result<()>,
    ) -> Result<()> {
        let reader = ScaledSlide::new(self.slide, self.scale);
        let is_active = |window: &_| self.is_active(window);
        let Self { grid, batch, readers, timings, .. } = self;
        let job =
            Job { slide: &reader, grid, bands, is_active: &is_active, batch: *batch, readers: *readers, stop: &self.options.stop, timings };
        let windows = bands.iter().flat_map(|band| band * grid.columns()..(band + 1) * grid.columns());
        let windows = windows.filter(|&index| self.is_active(&grid.window(index))).count();
        let window_px = grid.image[0] * grid.image[1] / grid.len();
        progress.begin("segment", windows as u64, "tiles");
        let began = Instant::now();
        let result = pipeline::run(&job, networks, |mut band| {
            let rate = (band.windows_done * window_px) as f64 / 1e6 / began.elapsed().as_secs_f64();
            progress.at(band.windows_done as u64, &format!("{rate:.2} Mpx/s, {}", text()));
            self.tissue.clear(band.y, &mut band.rows);
            on_band(band)
        });
        progress.end();
        result
    }

    /// Stores a band if the slide is still the one that was hashed, because a later run takes the band for one of that slide.
    fn store_band(&self, store: &Store, band: &Band) -> Result<()> {
        self.slide.facts().contents.check()?;
        self.timings.store.time(|| store.put(band.index, &band.rows, self.lost_tiles()))
    }
}

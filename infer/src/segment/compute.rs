//! The threads between the slide and its files.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use models::card::ModelCard;
use support::console::Progress;
use support::{Error, Result, bail};

use super::plan::Plan;
use super::store::Store;
use super::{Shard, ShardReport};
use crate::instances::{Extractor, FinishedInstances};
use crate::output::Files;
use crate::output::overlay::Overlay;
use crate::output::pyramid::PyramidWriter;
use crate::output::summary::NucleusFacts;
use crate::output::writers::{Source, Wanted, Writers};
use crate::pipeline::{self, Band, Job};
use crate::quality::status::Facts as QualityFacts;
use crate::quality::{Quality, Strip};
use crate::segmenter::Network;
use crate::timing::StageTimings;
use slides::{LostTile, ScaledSlide};

/// Bytes of bands of which one more may wait before each writer.
const SMALL_BAND: usize = 4 << 20;

/// What came of a slide.
pub(super) struct Computed {
    pub(super) nuclei: NucleusFacts,
    pub(super) quality: QualityFacts,
    /// What was not written, in words.
    pub(super) note: Option<String>,
    /// Tiles that could not be read, by this run or by those it goes on from.
    pub(super) lost: Vec<LostTile>,
    /// From the first window to the last nucleus.
    pub(super) seconds: f64,
}

impl Plan<'_> {
    /// Runs the pipeline over the bands that are not stored yet, and all bands into files.
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
        let overlay = Overlay::new([width, height], self.picture.clone());
        let writers =
            Writers::new(files, &Wanted { extra: self.extra, outlines: self.outlines }, source, &self.scale, self.frame, overlay)?;
        let extractor = Extractor::new(width, height, &card.decoding);
        let missing: Vec<usize> = (0..self.grid.bands().len()).filter(|&band| store.get(band).is_none()).collect();
        let lost = Mutex::new(BTreeSet::new());
        let found = Mutex::new(0);
        let began = Instant::now();
        let (probability, writers, quality) = thread::scope(|scope| {
            let room = self.bands_that_wait();
            let (map_in, map) = sync_channel::<Arc<Band>>(room);
            let (bands_in, bands) = sync_channel::<Arc<Band>>(room);
            let (store_in, to_store) = sync_channel::<Arc<Band>>(room);
            let (harvests_in, harvests) = sync_channel::<FinishedInstances>(2);
            let busy = self.busy;
            let map = scope.spawn(move || write_map(probability, &map, busy));
            let nuclei = scope.spawn(move || write_nuclei(writers, &harvests, busy));
            let stored = scope.spawn(move || to_store.iter().try_for_each(|band| self.put(store, &band)));
            let found = &found;
            let (strips_in, strips) = sync_channel::<Strip>(0);
            let looked = scope.spawn(move || {
                let mut quality = Quality::new(width, card.training.colours.clone(), self.expected_entropy);
                self.cut(&bands, &mut quality, |strip| strips_in.send(strip).is_ok()).map(|()| quality)
            });
            let extraction = scope.spawn(move || {
                extract(extractor, height, &strips, busy, |harvest| {
                    *found.lock().expect("no panic while counting") += harvest.instances.len();
                    harvests_in.send(harvest).is_ok()
                });
            });
            let mut sinks = Sinks { plan: self, store, lost: &lost, next: 0, map: map_in, bands: bands_in };
            let text = || format!("{} nuclei", found.lock().expect("no panic while counting"));
            let keeps = self.grid.bands().len() > 1;
            let computed = self.run(networks, &missing, progress, &text, |band| {
                let band = Arc::new(band);
                if keeps && store_in.send(band.clone()).is_err() {
                    bail!("storing bands stopped");
                }
                sinks.stored_until(band.index)?;
                sinks.take(band)
            });
            let computed = computed.and_then(|()| sinks.stored_until(self.grid.bands().len()));
            drop((sinks, store_in));
            joined(extraction);
            let (probability, writers, quality, stored) = (joined(map), joined(nuclei), joined(looked), joined(stored));
            let (probability, writers, quality) = (probability?, writers?, quality?);
            stored.and(computed).map(|()| (probability, writers, quality))
        })?;
        let seconds = began.elapsed().as_secs_f64();
        files.add(probability.finish()?);
        let (nuclei, note) = writers.finish(files)?;
        let (map, quality) = quality.finish(files.create("quality.tif")?, self.scale.effective_mpp)?;
        files.add(map);
        let mut lost = lost.into_inner().expect("no panic while noting lost tiles");
        lost.extend(self.lost_tiles());
        Ok(Computed { nuclei, quality, note, lost: lost.into_iter().collect(), seconds })
    }

    /// Bands that may wait before each writer beside the one it works on: of large ones none.
    fn bands_that_wait(&self) -> usize {
        let rows = self.grid.bands().iter().map(|band| band.core_length).max().unwrap_or(0);
        usize::from(rows * self.grid.image[0] <= SMALL_BAND)
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
        let own = shard.index * bands / shard.count..(shard.index + 1) * bands / shard.count;
        let missing: Vec<usize> = own.filter(|&band| store.get(band).is_none()).collect();
        self.run(networks, &missing, progress, &String::new, |band| self.put(store, &band))?;
        let stored = (0..bands).filter(|&band| store.get(band).is_some()).count();
        Ok(ShardReport { computed: missing.len(), stored, bands })
    }

    /// The pipeline over some bands; probabilities are 0 where there is no tissue. `text` is told beside the progress.
    pub(super) fn run(
        &self,
        networks: &mut [Box<dyn Network>],
        bands: &[usize],
        progress: &dyn Progress,
        text: &dyn Fn() -> String,
        mut on_band: impl FnMut(Band) -> Result<()>,
    ) -> Result<()> {
        let reader = ScaledSlide::new(self.slide, self.scale);
        let wanted = |window: &_| self.wants(window);
        let Self { grid, batch, readers, busy, stop, .. } = self;
        let job = Job { slide: &reader, grid, bands, wanted: &wanted, batch: *batch, readers: *readers, stop, busy };
        let windows = bands.iter().flat_map(|band| band * grid.columns()..(band + 1) * grid.columns());
        let windows = windows.filter(|&index| self.wants(&grid.window(index))).count();
        let window_px = grid.image[0] * grid.image[1] / grid.len();
        progress.begin("segment", windows as u64, "tiles");
        let began = Instant::now();
        let done = pipeline::run(&job, networks, |mut band| {
            let rate = (band.windows_done * window_px) as f64 / 1e6 / began.elapsed().as_secs_f64();
            progress.at(band.windows_done as u64, &format!("{rate:.2} Mpx/s, {}", text()));
            self.tissue.clear(band.y, &mut band.rows);
            on_band(band)
        });
        progress.end();
        done
    }

    fn put(&self, store: &Store, band: &Band) -> Result<()> {
        self.busy.store.time(|| store.put(band.index, &band.rows, self.lost_tiles()))
    }
}

/// Where bands go, in order.
struct Sinks<'a> {
    plan: &'a Plan<'a>,
    store: &'a Store,
    lost: &'a Mutex<BTreeSet<LostTile>>,
    /// The band that comes next.
    next: usize,
    map: SyncSender<Arc<Band>>,
    bands: SyncSender<Arc<Band>>,
}

impl Sinks<'_> {
    /// Hands on the stored bands before band `end`.
    fn stored_until(&mut self, end: usize) -> Result<()> {
        while self.next < end {
            let index = self.next;
            let Some(stored) = self.store.get(index) else { bail!("band {index} was stored and is gone") };
            self.lost.lock().expect("no panic while noting lost tiles").extend(stored.lost);
            self.take(Arc::new(Band { index, y: self.plan.grid.bands()[index].core, rows: stored.rows, windows_done: 0 }))?;
        }
        Ok(())
    }

    fn take(&mut self, band: Arc<Band>) -> Result<()> {
        self.next += 1;
        let sent = self.map.send(band.clone()).is_ok() && self.bands.send(band).is_ok();
        // Whoever stopped taking bands says why.
        if sent { Ok(()) } else { Err(Error::new("writing stopped")) }
    }
}

fn joined<T>(hand: thread::ScopedJoinHandle<'_, T>) -> T {
    hand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn write_map(mut map: PyramidWriter, bands: &Receiver<Arc<Band>>, busy: &StageTimings) -> Result<PyramidWriter> {
    for band in bands {
        busy.probability.time(|| map.push(&band.rows))?;
    }
    Ok(map)
}

fn write_nuclei(mut writers: Writers, harvests: &Receiver<FinishedInstances>, busy: &StageTimings) -> Result<Writers> {
    for harvest in harvests {
        busy.nuclei.time(|| writers.add(&harvest))?;
    }
    Ok(writers)
}

/// Hands on what each strip finished; an image whose last rows never come is not ended.
fn extract(
    mut extractor: Extractor,
    height: usize,
    strips: &Receiver<Strip>,
    busy: &StageTimings,
    mut found: impl FnMut(FinishedInstances) -> bool,
) {
    let mut rows = 0;
    for strip in strips {
        let harvest = busy.instances.time(|| extractor.push(&strip.probabilities, &strip.colours));
        drop(strip);
        rows = harvest.rows_taken as usize;
        if !found(harvest) {
            return;
        }
    }
    if rows == height {
        found(busy.instances.time(|| extractor.finish()));
    }
}

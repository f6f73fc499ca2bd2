//! The threads between the slide and its files.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use models::card::ModelCard;
use models::console::Progress;
use models::{Error, Result};

use super::plan::Plan;
use crate::instances::{Extractor, Harvest};
use crate::output::Files;
use crate::output::overlay::Overlay;
use crate::output::pyramid::PyramidWriter;
use crate::output::summary::NucleusFacts;
use crate::output::writers::{Source, Writers};
use crate::pipeline::{self, Band, Job};
use crate::segmenter::Network;
use crate::slide::{Rgb, ScaledSlide};
use crate::tile::Window;
use crate::timing::Busy;

impl Plan<'_> {
    /// Runs the pipeline into files; the text says what was not written.
    pub(super) fn compute(
        &self,
        card: &ModelCard,
        networks: &mut [Box<dyn Network>],
        source: &Source<'_>,
        files: &mut Files,
        busy: &Busy,
        progress: &dyn Progress,
    ) -> Result<(NucleusFacts, Option<String>)> {
        let [width, height] = self.scale.size_px;
        let overlay = Mutex::new(Overlay::new([width, height]));
        let probability = PyramidWriter::new(files.create("probability.tif")?, width, height, 1, self.scale.effective_mpp)?;
        let writers = Writers::new(files, source, &self.scale, self.frame, &overlay)?;
        let extractor = Extractor::new(width, height, &card.decoding);
        let found = Mutex::new(0);
        progress.begin("segment", self.grid.len() as u64, "tiles");
        let (probability, writers) = thread::scope(|scope| {
            let (map_in, map) = sync_channel::<Arc<Band>>(1);
            let (bands_in, bands) = sync_channel::<Arc<Band>>(1);
            let (harvests_in, harvests) = sync_channel::<Harvest>(2);
            let map = scope.spawn(move || write_map(probability, &map, busy));
            let nuclei = scope.spawn(move || write_nuclei(writers, &harvests, busy));
            let found = &found;
            let extraction = scope.spawn(move || {
                extract(extractor, height, &bands, busy, |harvest| {
                    *found.lock().expect("no panic while counting") += harvest.instances.len();
                    harvests_in.send(harvest).is_ok()
                });
            });
            let reader = ScaledSlide::new(self.slide, self.scale);
            let seen = |pixels: &Rgb, window: &Window| add_core(&overlay, pixels, window);
            let job = Job { slide: &reader, grid: &self.grid, batch: self.batch, readers: self.readers, seen: &seen, busy };
            let began = Instant::now();
            let computed = pipeline::run(&job, networks, |band| {
                let pixels = ((band.y + band.rows.len() / width) * width) as f64;
                let rate = pixels / 1e6 / began.elapsed().as_secs_f64();
                let count = *found.lock().expect("no panic while counting");
                progress.at(band.windows_done as u64, &format!("{rate:.2} Mpx/s, {count} nuclei"));
                let band = Arc::new(band);
                let sent = map_in.send(band.clone()).is_ok() && bands_in.send(band).is_ok();
                // Whoever stopped taking bands says why below.
                if sent { Ok(()) } else { Err(Error::new("writing stopped")) }
            });
            drop((map_in, bands_in));
            joined(extraction);
            let (probability, writers) = (joined(map), joined(nuclei));
            let (probability, writers) = (probability?, writers?);
            computed.map(|()| (probability, writers))
        })?;
        progress.end();
        files.add(probability.finish()?);
        let (nuclei, note) = writers.finish(files)?;
        let overlay = overlay.into_inner().expect("no panic while drawing");
        files.add(overlay.finish(files.create("overlay.png")?, source.class.colour)?);
        Ok((nuclei, note))
    }
}

fn joined<T>(hand: thread::ScopedJoinHandle<'_, T>) -> T {
    hand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Adds the pixels of a window's core to the overlay.
fn add_core(overlay: &Mutex<Overlay>, pixels: &Rgb, window: &Window) {
    let inside = [window.x.core - window.x.read, window.y.core - window.y.read];
    let size = [window.x.core_length, window.y.core_length];
    overlay.lock().expect("no panic while drawing").add_pixels(pixels, inside, [window.x.core, window.y.core], size);
}

fn write_map(mut map: PyramidWriter, bands: &Receiver<Arc<Band>>, busy: &Busy) -> Result<PyramidWriter> {
    for band in bands {
        busy.probability.time(|| map.push(&band.rows))?;
    }
    Ok(map)
}

fn write_nuclei<'a>(mut writers: Writers<'a>, harvests: &Receiver<Harvest>, busy: &Busy) -> Result<Writers<'a>> {
    for harvest in harvests {
        busy.nuclei.time(|| writers.add(&harvest))?;
    }
    Ok(writers)
}

/// Hands on what each band finished; an image whose last rows never come is not ended.
fn extract(mut extractor: Extractor, height: usize, bands: &Receiver<Arc<Band>>, busy: &Busy, mut found: impl FnMut(Harvest) -> bool) {
    let mut rows = 0;
    for band in bands {
        let harvest = busy.instances.time(|| extractor.push(&band.rows));
        rows = harvest.rows_taken as usize;
        if !found(harvest) {
            return;
        }
    }
    if rows == height {
        found(busy.instances.time(|| extractor.finish()));
    }
}

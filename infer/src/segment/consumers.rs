//! Consumers of bands, strips and instances: what the threads of one slide run.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex};

use support::{Error, Result, bail};

use super::plan::Plan;
use super::store::Store;
use crate::instances::{Extractor, FinishedInstances};
use crate::output::writers::Writers;
use crate::pipeline::Band;
use crate::pyramid::PyramidWriter;
use crate::quality::PixelStrip;
use crate::timing::StageTimings;
use slides::LostTile;

/// Receivers of bands: the store gets computed bands, the probability map and the strips get all bands in order.
pub(super) struct Sinks<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) store: &'a Store,
    pub(super) lost: &'a Mutex<BTreeSet<LostTile>>,
    /// Number of the next band.
    pub(super) next: usize,
    pub(super) storage: SyncSender<Arc<Band>>,
    pub(super) probability: SyncSender<Arc<Band>>,
    pub(super) bands: SyncSender<Arc<Band>>,
}

impl Sinks<'_> {
    /// Sends the stored bands before band `end`.
    pub(super) fn take_stored_until(&mut self, end: usize) -> Result<()> {
        while self.next < end {
            let index = self.next;
            let Some(stored) = self.store.get(index) else { bail!("the stored band {index} was removed during the run") };
            self.lost.lock().expect("no panic while lost tiles are recorded").extend(stored.lost);
            self.take(Arc::new(Band { index, y: self.plan.grid.bands()[index].core, rows: stored.rows, windows_done: 0 }))?;
        }
        Ok(())
    }

    /// Sends the next band to all receivers but the store.
    pub(super) fn take(&mut self, band: Arc<Band>) -> Result<()> {
        self.next += 1;
        let sent = self.probability.send(band.clone()).is_ok() && self.bands.send(band).is_ok();
        // The thread that stopped receiving returns the reason.
        if sent { Ok(()) } else { Err(Error::new("writing stopped")) }
    }
}

/// Writes bands to the probability map.
pub(super) fn write_probability(mut writer: PyramidWriter, bands: &Receiver<Arc<Band>>, timings: &StageTimings) -> Result<PyramidWriter> {
    for band in bands {
        timings.probability.time(|| writer.push(&band.rows))?;
    }
    Ok(writer)
}

/// Writes the nuclei of finished instances.
pub(super) fn write_nuclei(
    mut writers: Writers,
    finished_instances: &Receiver<FinishedInstances>,
    timings: &StageTimings,
) -> Result<Writers> {
    for finished in finished_instances {
        timings.nuclei.time(|| writers.add(&finished))?;
    }
    Ok(writers)
}

/// Passes the instances that each strip finishes to `on_finished`, until it returns false. The extractor is finished only if it got all rows of the image.
pub(super) fn extract(
    mut extractor: Extractor,
    height: usize,
    strips: &Receiver<PixelStrip>,
    timings: &StageTimings,
    mut on_finished: impl FnMut(FinishedInstances) -> bool,
) {
    let mut rows = 0;
    for strip in strips {
        let finished = timings.instances.time(|| extractor.push(&strip.probabilities, &strip.colours));
        drop(strip);
        rows = finished.rows_taken as usize;
        if !on_finished(finished) {
            return;
        }
    }
    if rows == height {
        on_finished(timings.instances.time(|| extractor.finish()));
    }
}

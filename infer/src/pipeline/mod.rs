//! Pipeline from the windows of a slide to bands of probabilities, from top to bottom.
//!
//! ```text
//! readers (n) -> windows -> networks (m) -> predictions -> stitching of cores to bands (the caller's thread) -> on_band, in order
//! ```
//! All queues are bounded, and windows are read at most `BANDS_AHEAD` bands ahead, so that memory does not grow with the slide. Inactive
//! windows are neither read nor computed. Results depend neither on the number of threads nor on the batch size.

mod batches;
mod read_ahead;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use support::{Result, bail, threads};

use crate::network::Network;
use crate::tile::{TileGrid, Window, Windows};
use crate::timing::StageTimings;
use batches::predict;
use read_ahead::ReadAheadLimit;
use slides::{Rgb, ScaledSlide};

/// Windows of a slide to compute, with the number of workers.
pub struct Job<'a> {
    /// The slide at the model's scale.
    pub slide: &'a ScaledSlide<'a>,
    /// Windows of the slide.
    pub grid: &'a TileGrid,
    /// Numbers of the bands to compute, ascending.
    pub bands: &'a [usize],
    /// Reports whether a window is computed; the probabilities of other windows are 0.
    pub is_active: &'a (dyn Fn(&Window) -> bool + Sync),
    /// Number of windows per batch. If all windows have one size, incomplete batches are padded with black, so that shapes never change.
    pub batch: usize,
    /// Number of threads that read windows.
    pub readers: usize,
    /// A nonzero value ends the run with an error.
    pub stop: &'a AtomicUsize,
    /// Clocks of the stages.
    pub timings: &'a StageTimings,
}

/// Finished rows of the full width of the image.
pub struct Band {
    /// Number of the band in the grid.
    pub index: usize,
    /// First row in the image.
    pub y: usize,
    /// Quantised probabilities `round(255 p)`, `[row][column]`.
    pub rows: Vec<u8>,
    /// Number of windows computed so far.
    pub windows_done: usize,
}

/// Pixels of a group of windows, with its index in [`WorkList::groups`].
type WindowPixels = (usize, Rgb);
/// Quantised probabilities of a group, with its index.
type Prediction = (usize, Vec<u8>);

/// Runs the job; calls `on_band` once for every band, from top to bottom, on the calling thread.
pub fn run(job: &Job<'_>, networks: &mut [Box<dyn Network>], mut on_band: impl FnMut(Band) -> Result<()>) -> Result<()> {
    assert!(!networks.is_empty() && job.batch > 0 && job.readers > 0, "a pipeline needs a network, a reader and a batch");
    let limit = ReadAheadLimit::default();
    let next = AtomicUsize::new(0);
    let work_list = WorkList::new(job);
    thread::scope(|scope| {
        // A long window has as many pixels as a batch of windows of one size.
        let queue_len = if job.grid.windows == Windows::Long { 1 } else { job.batch * networks.len() + job.readers };
        let (windows_in, windows) = sync_channel::<WindowPixels>(queue_len);
        let (predictions_in, predictions) = sync_channel::<Prediction>(job.batch * networks.len() + 1);
        let windows = Arc::new(Mutex::new(windows));
        let mut workers = Vec::new();
        limit.close_on_failure(|| {
            for _ in 0..job.readers {
                let (out, limit, next, work_list) = (windows_in.clone(), &limit, &next, &work_list);
                workers.push(threads::start(scope, move || limit.close_on_failure(|| read_windows(job, work_list, next, limit, &out)))?);
            }
            for network in networks.iter_mut() {
                let (windows, out, limit) = (windows.clone(), predictions_in.clone(), &limit);
                workers.push(threads::start(scope, move || limit.close_on_failure(|| predict(job, network.as_mut(), &windows, &out)))?);
            }
            Ok(())
        })?;
        // Only the workers hold the channels now: when one side ends, so does the other.
        drop((windows_in, windows, predictions_in));
        let bands_done = limit.close_on_failure(|| stitch(job, &work_list, &limit, &predictions, &mut on_band));
        drop(predictions);
        let results = workers.into_iter().map(threads::join);
        results.collect::<Vec<_>>().into_iter().collect::<Result<()>>().and(bands_done)
    })
}

/// Active windows of a job.
struct WorkList {
    /// Groups of neighbouring windows that are read and computed as one, each with the position of its band in the job's list; ascending.
    groups: Vec<(usize, Range<usize>)>,
    /// Number of active windows in each band of the list.
    windows_per_band: Vec<usize>,
}

impl WorkList {
    fn new(job: &Job<'_>) -> Self {
        let columns = job.grid.columns();
        let (mut groups, mut windows_per_band) = (Vec::new(), Vec::new());
        for (position, band) in job.bands.iter().enumerate() {
            let windows = band * columns..(band + 1) * columns;
            let active: Vec<usize> = windows.filter(|&index| (job.is_active)(&job.grid.window(index))).collect();
            groups.extend(job.grid.groups(&active).into_iter().map(|group| (position, group)));
            windows_per_band.push(active.len());
        }
        Self { groups, windows_per_band }
    }
}

impl Job<'_> {
    fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) != 0 {
            bail!(Cancelled; "stopped by a signal"; hint: "run the same command with --resume to go on");
        }
        Ok(())
    }
}

/// Reads windows in raster order, until all are read or the receivers have ended.
fn read_windows(
    job: &Job<'_>,
    work_list: &WorkList,
    next: &AtomicUsize,
    limit: &ReadAheadLimit,
    out: &SyncSender<WindowPixels>,
) -> Result<()> {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some((position, group)) = work_list.groups.get(index) else { return Ok(()) };
        if !limit.wait_for(*position) {
            return Ok(());
        }
        job.check_stop()?;
        let window = job.grid.merged(group);
        let pixels = job.timings.read.time(|| job.slide.read(window.x.read, window.y.read, window.x.length, window.y.length))?;
        if out.send((index, pixels)).is_err() {
            return Ok(());
        }
    }
}

/// Stitches the cores of windows to bands and passes bands to `on_band` in order.
fn stitch(
    job: &Job<'_>,
    work_list: &WorkList,
    limit: &ReadAheadLimit,
    predictions: &Receiver<Prediction>,
    on_band: &mut impl FnMut(Band) -> Result<()>,
) -> Result<()> {
    let mut partial: BTreeMap<usize, (Vec<u8>, usize)> = BTreeMap::new();
    let (mut done, mut windows_done) = (0, 0);
    let empty = |band: usize| vec![0; job.grid.bands()[band].core_length * job.grid.image[0]];
    let mut predictions = predictions.iter();
    loop {
        while done < job.bands.len() && partial.get(&job.bands[done]).map_or(0, |band| band.1) == work_list.windows_per_band[done] {
            let index = job.bands[done];
            let rows = partial.remove(&index).map_or_else(|| empty(index), |band| band.0);
            on_band(Band { index, y: job.grid.bands()[index].core, rows, windows_done })?;
            done += 1;
            limit.finish_band();
        }
        let Some((index, prediction)) = predictions.next() else { return Ok(()) };
        let (position, group) = &work_list.groups[index];
        let (band, filled) = partial.entry(job.bands[*position]).or_insert_with(|| (empty(job.bands[*position]), 0));
        job.timings.stitch.time(|| copy_core(job.grid, &job.grid.merged(group), &prediction, band));
        *filled += group.len();
        windows_done += group.len();
    }
}

/// Copies the core of a window's prediction into its band.
fn copy_core(grid: &TileGrid, window: &Window, prediction: &[u8], band: &mut [u8]) {
    let (left, top) = (window.x.core - window.x.read, window.y.core - window.y.read);
    for row in 0..window.y.core_length {
        let from = (top + row) * window.x.length + left;
        let to = row * grid.image[0] + window.x.core;
        band[to..to + window.x.core_length].copy_from_slice(&prediction[from..from + window.x.core_length]);
    }
}

//! Windows of a slide through the network, probabilities out in bands from top to bottom.
//!
//! ```text
//! readers (n) -> windows -> networks (m) -> answers -> cores put into bands (the caller's thread) -> on_band, in order
//! ```
//! All queues are bounded, and no window is read more than `BANDS_AHEAD` bands ahead, so that memory does not grow with the
//! slide. Windows that are not wanted are neither read nor computed. What comes out depends neither on the numbers of threads nor on the batch.

mod read_ahead;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use support::{ErrorKind, Result, bail};

use crate::segmenter::Network;
use crate::tile::{TileGrid, Window, Windows};
use crate::timing::StageTimings;
use read_ahead::ReadAheadLimit;
use slides::{Rgb, ScaledSlide};

/// How long a batch waits for another window before it runs with fewer.
const BATCH_PATIENCE: Duration = Duration::from_millis(50);

/// What is to be computed, and with how many hands.
pub struct Job<'a> {
    /// The slide at the model's scale.
    pub slide: &'a ScaledSlide<'a>,
    /// Its windows.
    pub grid: &'a TileGrid,
    /// The bands that are computed, ascending.
    pub bands: &'a [usize],
    /// Whether a window has anything to compute; its part of a band is 0 otherwise.
    pub wanted: &'a (dyn Fn(&Window) -> bool + Sync),
    /// Windows that a network gets at once; where all have one size, the last ones are filled up with black, so that shapes never change.
    pub batch: usize,
    /// Threads that read windows.
    pub readers: usize,
    /// Not 0: the run is to end soon, with an error.
    pub stop: &'a AtomicUsize,
    /// Where time goes.
    pub busy: &'a StageTimings,
}

/// Rows of the image's full width.
pub struct Band {
    /// Its number among all bands of the grid.
    pub index: usize,
    /// First row.
    pub y: usize,
    /// `rows * width` values `round(255 p)`.
    pub rows: Vec<u8>,
    /// Windows done so far.
    pub windows_done: usize,
}

/// A group of windows by its place in [`Work::groups`], and its pixels.
type Read = (usize, Rgb);
type Answer = (usize, Vec<u8>);

/// Runs the job; `on_band` gets every band once, from top to bottom, on the calling thread.
pub fn run(job: &Job<'_>, networks: &mut [Box<dyn Network>], mut on_band: impl FnMut(Band) -> Result<()>) -> Result<()> {
    assert!(!networks.is_empty() && job.batch > 0 && job.readers > 0, "a pipeline needs a network, a reader and a batch");
    let gate = ReadAheadLimit::default();
    let next = AtomicUsize::new(0);
    let work = Work::of(job);
    thread::scope(|scope| {
        // A long window is by itself what one session of a runtime gets in several.
        let waiting = if job.grid.windows == Windows::Long { 1 } else { job.batch * networks.len() + job.readers };
        let (windows_in, windows) = sync_channel::<Read>(waiting);
        let (answers_in, answers) = sync_channel::<Answer>(job.batch * networks.len() + 1);
        let windows = Arc::new(Mutex::new(windows));
        let mut hands = Vec::new();
        for _ in 0..job.readers {
            let (out, gate, next, work) = (windows_in.clone(), &gate, &next, &work);
            hands.push(scope.spawn(move || gate.closed_on_failure(|| read(job, work, next, gate, &out))));
        }
        for network in networks.iter_mut() {
            let (windows, out, gate) = (windows.clone(), answers_in.clone(), &gate);
            hands.push(scope.spawn(move || gate.closed_on_failure(|| answer(job, network.as_mut(), &windows, &out))));
        }
        // The threads hold the only ends now: when one side is gone, the other one ends.
        drop((windows_in, windows, answers_in));
        let stitched = gate.closed_on_failure(|| stitch(job, &work, &gate, &answers, &mut on_band));
        drop(answers);
        let results = hands.into_iter().map(|hand| hand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results.collect::<Vec<_>>().into_iter().collect::<Result<()>>().and(stitched)
    })
}

/// Windows to compute.
struct Work {
    /// Place of the band in the job's list, and windows that are one to readers and networks, both ascending.
    groups: Vec<(usize, Range<usize>)>,
    /// Windows to compute in each band of the list.
    count: Vec<usize>,
}

impl Work {
    fn of(job: &Job<'_>) -> Self {
        let columns = job.grid.columns();
        let (mut groups, mut count) = (Vec::new(), Vec::new());
        for (place, band) in job.bands.iter().enumerate() {
            let windows = band * columns..(band + 1) * columns;
            let wanted: Vec<usize> = windows.filter(|&index| (job.wanted)(&job.grid.window(index))).collect();
            groups.extend(job.grid.groups(&wanted).into_iter().map(|group| (place, group)));
            count.push(wanted.len());
        }
        Self { groups, count }
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

/// Reads windows in raster order until there are no more, or nobody takes them.
fn read(job: &Job<'_>, work: &Work, next: &AtomicUsize, gate: &ReadAheadLimit, out: &SyncSender<Read>) -> Result<()> {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some((place, group)) = work.groups.get(index) else { return Ok(()) };
        if !gate.wait_for(*place) {
            return Ok(());
        }
        job.check_stop()?;
        let window = job.grid.joined(group);
        let pixels = job.busy.read.time(|| job.slide.read(window.x.read, window.y.read, window.x.length, window.y.length))?;
        if out.send((index, pixels)).is_err() {
            return Ok(());
        }
    }
}

/// Runs a network on batches of windows until there are no more, or nobody takes its answers.
fn answer(job: &Job<'_>, network: &mut dyn Network, windows: &Mutex<Receiver<Read>>, out: &SyncSender<Answer>) -> Result<()> {
    // What fits on the device; found once, kept to the end.
    let mut fits = job.batch;
    loop {
        let batch = next_batch(fits, windows);
        if batch.is_empty() {
            return Ok(());
        }
        for batch in batch.chunk_by(|(_, a), (_, b)| (a.width, a.height) == (b.width, b.height)) {
            job.check_stop()?;
            let (width, height) = (batch[0].1.width, batch[0].1.height);
            // Where all windows have one size, batches have one too.
            let size = if job.grid.windows == Windows::OneSize { fits } else { batch.len() };
            let answers = job.busy.network.time(|| in_memory(network, batch, [size, height, width], &mut fits))?;
            for ((index, _), answer) in batch.iter().zip(answers) {
                if out.send((*index, answer)).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Answers to a batch, filled up to `size` windows; where the device's memory is full, to half as many at a time, from now on.
fn in_memory(network: &mut dyn Network, batch: &[Read], [size, height, width]: [usize; 3], fits: &mut usize) -> Result<Vec<Vec<u8>>> {
    let images = together(batch, size * width * height * 3);
    match network.quantised(&images, size, height, width) {
        Ok(answers) => {
            assert_eq!(answers.len(), size * width * height, "a network answers every pixel");
            Ok(answers.chunks_exact(width * height).take(batch.len()).map(<[u8]>::to_vec).collect())
        }
        Err(error) if size > 1 && error.kind() == ErrorKind::OutOfMemory => {
            drop(images);
            *fits = (*fits).min(size / 2);
            tracing::warn!("{size} windows at once do not fit into the device's memory: going on with {fits} ({error})");
            let mut answers = Vec::with_capacity(batch.len());
            let mut rest = batch;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*fits));
                answers.extend(in_memory(network, now, [*fits, height, width], fits)?);
                rest = later;
            }
            Ok(answers)
        }
        Err(error) => Err(error),
    }
}

/// The pixels of a batch, filled up with black to `length` bytes.
fn together(batch: &[Read], length: usize) -> Cow<'_, [u8]> {
    if let [(_, only)] = batch
        && only.data.len() == length
    {
        return Cow::Borrowed(&only.data);
    }
    let mut images = Vec::with_capacity(length);
    for (_, pixels) in batch {
        images.extend_from_slice(&pixels.data);
    }
    images.resize(length, 0);
    Cow::Owned(images)
}

/// Up to `size` windows; none: there are no more. Fewer than `size` come where readers are slow or held back.
fn next_batch(size: usize, windows: &Mutex<Receiver<Read>>) -> Vec<Read> {
    let windows = windows.lock().expect("no panic while a batch is made");
    let mut batch: Vec<Read> = windows.recv().into_iter().collect();
    while !batch.is_empty() && batch.len() < size {
        match windows.recv_timeout(BATCH_PATIENCE) {
            Ok(window) => batch.push(window),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    batch
}

/// Puts cores into bands and hands bands on in order.
fn stitch(
    job: &Job<'_>,
    work: &Work,
    gate: &ReadAheadLimit,
    answers: &Receiver<Answer>,
    on_band: &mut impl FnMut(Band) -> Result<()>,
) -> Result<()> {
    let mut open: BTreeMap<usize, (Vec<u8>, usize)> = BTreeMap::new();
    let (mut done, mut windows_done) = (0, 0);
    let empty = |band: usize| vec![0; job.grid.bands()[band].core_length * job.grid.image[0]];
    let mut answers = answers.iter();
    loop {
        while done < job.bands.len() && open.get(&job.bands[done]).map_or(0, |band| band.1) == work.count[done] {
            let index = job.bands[done];
            let rows = open.remove(&index).map_or_else(|| empty(index), |band| band.0);
            on_band(Band { index, y: job.grid.bands()[index].core, rows, windows_done })?;
            done += 1;
            gate.finish_band();
        }
        let Some((index, answer)) = answers.next() else { return Ok(()) };
        let (place, group) = &work.groups[index];
        let (band, filled) = open.entry(job.bands[*place]).or_insert_with(|| (empty(job.bands[*place]), 0));
        job.busy.stitch.time(|| put_core(job.grid, &job.grid.joined(group), &answer, band));
        *filled += group.len();
        windows_done += group.len();
    }
}

/// Copies the core of a window's answer into its band.
fn put_core(grid: &TileGrid, window: &Window, answer: &[u8], band: &mut [u8]) {
    let (left, top) = (window.x.core - window.x.read, window.y.core - window.y.read);
    for row in 0..window.y.core_length {
        let from = (top + row) * window.x.length + left;
        let to = row * grid.image[0] + window.x.core;
        band[to..to + window.x.core_length].copy_from_slice(&answer[from..from + window.x.core_length]);
    }
}

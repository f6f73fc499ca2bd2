//! Batches of windows through one network, with a batch size that adapts to the device's memory.

use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use support::{ErrorKind, Result};

use super::{Job, Prediction, WindowPixels};
use crate::network::Network;
use crate::tile::Windows;

/// Time that an incomplete batch waits for another window before it is computed.
const BATCH_TIMEOUT: Duration = Duration::from_millis(50);

/// Runs a network on batches of windows, until all windows are computed or the receiver has ended.
pub(super) fn predict(
    job: &Job<'_>,
    network: &mut dyn Network,
    windows: &Mutex<Receiver<WindowPixels>>,
    out: &SyncSender<Prediction>,
) -> Result<()> {
    // Batch size that fits into the device's memory; a reduced size is kept for the rest of the run.
    let mut max_batch = job.batch;
    loop {
        let batch = next_batch(max_batch, windows);
        if batch.is_empty() {
            return Ok(());
        }
        for batch in batch.chunk_by(|(_, a), (_, b)| (a.width, a.height) == (b.width, b.height)) {
            job.check_stop()?;
            let (width, height) = (batch[0].1.width, batch[0].1.height);
            // If all windows have one size, so have all batches.
            let size = if job.grid.windows == Windows::OneSize { max_batch } else { batch.len() };
            let predictions = job.timings.network.time(|| predict_batch(network, batch, [size, height, width], &mut max_batch))?;
            for ((index, _), prediction) in batch.iter().zip(predictions) {
                if out.send((*index, prediction)).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Predicts a batch, padded to `size` windows. If the device's memory is full, halves the batch size from then on.
fn predict_batch(
    network: &mut dyn Network,
    batch: &[WindowPixels],
    [size, height, width]: [usize; 3],
    max_batch: &mut usize,
) -> Result<Vec<Vec<u8>>> {
    let images = concatenate(batch, size * width * height * 3);
    match network.quantised(&images, size, height, width) {
        Ok(predictions) => {
            assert_eq!(predictions.len(), size * width * height, "a network predicts every pixel");
            Ok(predictions.chunks_exact(width * height).take(batch.len()).map(<[u8]>::to_vec).collect())
        }
        Err(error) if size > 1 && error.kind() == ErrorKind::OutOfMemory => {
            drop(images);
            *max_batch = (*max_batch).min(size / 2);
            tracing::warn!(
                "batches of {size} windows do not fit into the device's memory: continuing with batches of {max_batch} ({error})"
            );
            let mut predictions = Vec::with_capacity(batch.len());
            let mut rest = batch;
            while !rest.is_empty() {
                let (part, rest_of_batch) = rest.split_at(rest.len().min(*max_batch));
                predictions.extend(predict_batch(network, part, [*max_batch, height, width], max_batch)?);
                rest = rest_of_batch;
            }
            Ok(predictions)
        }
        Err(error) => Err(error),
    }
}

/// Returns the pixels of a batch, padded with black to `length` bytes.
fn concatenate(batch: &[WindowPixels], length: usize) -> Cow<'_, [u8]> {
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

/// Receives up to `size` windows, fewer if readers are slow or held back; returns an empty batch after the last window.
fn next_batch(size: usize, windows: &Mutex<Receiver<WindowPixels>>) -> Vec<WindowPixels> {
    let windows = windows.lock().expect("no panic while a batch is received");
    let mut batch: Vec<WindowPixels> = windows.recv().into_iter().collect();
    while !batch.is_empty() && batch.len() < size {
        match windows.recv_timeout(BATCH_TIMEOUT) {
            Ok(window) => batch.push(window),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    batch
}

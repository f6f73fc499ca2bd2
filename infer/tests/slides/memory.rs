//! Batches that do not fit into the memory of a device.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use infer::network::Network;
use infer::segment::{Halo, Options, segment};
use support::console::Silent;
use support::{Error, ErrorKind, Result};

use crate::picture::{Darkness, model, save_tiff, tissue};
use crate::random::Random;

const FULL: &str = "CUDA failure 2: out of memory ; GPU=0";

/// Network that accepts at most `max_batch` images per batch and counts the batches that it refuses.
struct SmallDevice {
    max_batch: usize,
    refusals: Arc<AtomicUsize>,
    message: &'static str,
    /// True if the error has the kind `OutOfMemory`.
    is_full: bool,
}

impl Network for SmallDevice {
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>> {
        if batch > self.max_batch {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            let error = Error::new(format!("running the model: {}", self.message));
            return Err(if self.is_full { error.of_kind(ErrorKind::OutOfMemory) } else { error });
        }
        Darkness.quantised(images, batch, height, width)
    }
}

#[test]
fn the_batch_size_is_halved_until_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(91), 600, 500), &path, Some(0.5));
    let refusals = Arc::new(AtomicUsize::new(0));
    let run = |max_batch: usize, message: &'static str| {
        let out = folder.path().join(format!("{max_batch} {message}"));
        let options = Options { out: out.clone(), tile: Some(96), halo: Halo::Px(16), batch: 8, readers: 2, ..Options::default() };
        refusals.store(0, Ordering::Relaxed);
        let mut networks: Vec<Box<dyn Network>> =
            vec![Box::new(SmallDevice { max_batch, refusals: refusals.clone(), message, is_full: message == FULL })];
        let summary = segment(&path, &model(Some(0.5)), &mut networks, &options, &Silent)?;
        assert!(summary.nuclei.count > 0);
        Ok::<_, support::Error>(std::fs::read(out.join("a/probability.tif")).unwrap())
    };
    let full = FULL;
    let whole = run(8, full).unwrap();
    for (max_batch, times) in [(4, 1), (3, 2), (1, 3)] {
        assert!(run(max_batch, full).unwrap() == whole, "batches of {max_batch}");
        // The size is found once and kept for all further batches.
        assert_eq!(refusals.load(Ordering::Relaxed), times, "batches of {max_batch}");
    }
    assert!(run(0, full).unwrap_err().to_string().contains("out of memory"));
    assert_eq!(refusals.load(Ordering::Relaxed), 4);
    assert!(run(4, "a kernel failed").unwrap_err().to_string().contains("a kernel failed"));
    assert_eq!(refusals.load(Ordering::Relaxed), 1);
}

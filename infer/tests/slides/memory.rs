//! A device whose memory is too small for the batch that was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use infer::segment::{Halo, Options, segment};
use infer::segmenter::Network;
use support::console::Silent;
use support::{Error, ErrorKind, Result};

use crate::picture::{Darkness, model, save_tiff, tissue};
use crate::random::Random;

const FULL: &str = "CUDA failure 2: out of memory ; GPU=0";

/// Takes so many images at once; notes how often it was asked for more.
struct Small {
    most: usize,
    refused: Arc<AtomicUsize>,
    message: &'static str,
    /// The kind of the error is that of a full memory.
    is_full: bool,
}

impl Network for Small {
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>> {
        if batch > self.most {
            self.refused.fetch_add(1, Ordering::Relaxed);
            let error = Error::new(format!("running the model: {}", self.message));
            return Err(if self.is_full { error.of_kind(ErrorKind::OutOfMemory) } else { error });
        }
        Darkness.quantised(images, batch, height, width)
    }
}

#[test]
fn a_batch_that_does_not_fit_is_halved_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    save_tiff(&tissue(&mut Random(91), 600, 500), &path, Some(0.5));
    let refused = Arc::new(AtomicUsize::new(0));
    let run = |most: usize, message: &'static str| {
        let out = folder.path().join(format!("{most} {message}"));
        let options = Options { out: out.clone(), tile: Some(96), halo: Halo::Px(16), batch: 8, readers: 2, ..Options::default() };
        refused.store(0, Ordering::Relaxed);
        let mut networks: Vec<Box<dyn Network>> =
            vec![Box::new(Small { most, refused: refused.clone(), message, is_full: message == FULL })];
        let summary = segment(&path, &model(Some(0.5)), &mut networks, &options, &Silent)?;
        assert!(summary.nuclei.count > 0);
        Ok::<_, support::Error>(std::fs::read(out.join("a/probability.tif")).unwrap())
    };
    let full = FULL;
    let whole = run(8, full).unwrap();
    for (most, times) in [(4, 1), (3, 2), (1, 3)] {
        assert!(run(most, full).unwrap() == whole, "{most} at once");
        // What fits is found once, not for every batch.
        assert_eq!(refused.load(Ordering::Relaxed), times, "{most} at once");
    }
    assert!(run(0, full).unwrap_err().to_string().contains("out of memory"));
    assert_eq!(refused.load(Ordering::Relaxed), 4);
    assert!(run(4, "a kernel failed").unwrap_err().to_string().contains("a kernel failed"));
    assert_eq!(refused.load(Ordering::Relaxed), 1);
}

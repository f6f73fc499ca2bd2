//! Resuming and shards: the files of stopped, killed and sharded runs equal those of one run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use infer::network::Network;
use infer::output::{ExtraOutput, Summary};
use infer::segment::{Options, Regions, Shard, segment, segment_shard};
use support::Result;
use support::console::Silent;

use crate::picture::{Darkness, contents, model, save_tiff, tissue};
use crate::random::Random;

const FILES: [&str; 8] =
    ["nuclei.geojson.gz", "nuclei.csv", "mask.tif", "probability.tif", "labels.png", "overlay.png", "quality.tif", "labels.ome.tif"];

/// Network that counts windows, raises `stop` at window `stop_at`, and sleeps for `pause` per batch.
struct Watched {
    windows: Arc<AtomicUsize>,
    stop_at: usize,
    stop: Arc<AtomicUsize>,
    pause: Duration,
}

impl Network for Watched {
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>> {
        if self.windows.fetch_add(batch, Ordering::Relaxed) + batch == self.stop_at {
            self.stop.store(15, Ordering::Relaxed);
        }
        std::thread::sleep(self.pause);
        Darkness.quantised(images, batch, height, width)
    }
}

fn slide(folder: &Path) -> PathBuf {
    let path = folder.join("a.tif");
    save_tiff(&tissue(&mut Random(41), 500, 700), &path, Some(0.5));
    path
}

fn options(out: &Path, resume: bool) -> Options {
    Options {
        out: out.to_owned(),
        tile: Some(112),
        regions: Regions::Found,
        extra: vec![ExtraOutput::Labels],
        resume,
        ..Options::default()
    }
}

/// Runs with a network that raises the stop flag at window `stop_at`; the result and the number of windows computed.
fn go(slide: &Path, options: &Options, stop_at: usize) -> (Result<Summary>, usize) {
    let windows = Arc::new(AtomicUsize::new(0));
    let network = Watched { windows: windows.clone(), stop_at, stop: options.stop.clone(), pause: Duration::ZERO };
    let result = segment(slide, &model(Some(0.5)), &mut [Box::new(network)], options, &Silent);
    (result, windows.load(Ordering::Relaxed))
}

fn bytes(out: &Path) -> Vec<Vec<u8>> {
    contents(&out.join("a"), &FILES)
}

#[test]
fn a_run_that_is_stopped_anywhere_goes_on_to_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = slide(folder.path());
    let whole = folder.path().join("whole");
    let (summary, windows) = go(&path, &options(&whole, false), usize::MAX);
    let summary = summary.unwrap();
    assert_eq!(windows, summary.tiles.windows - summary.tiles.windows_skipped);
    let out = folder.path().join("out");
    for stop_at in [1, 7, 20, 33, 47] {
        let (stopped, first) = go(&path, &options(&out, false), stop_at);
        assert!(stopped.unwrap_err().hint_text().unwrap().contains("--resume"));
        assert!(!out.join("a/summary.json").exists());
        let (resumed, second) = go(&path, &options(&out, true), usize::MAX);
        assert_eq!(resumed.unwrap().nuclei.count, summary.nuclei.count);
        assert!(first >= stop_at && second <= windows && (stop_at < 14 || second < windows), "{stop_at}: {first} + {second} of {windows}");
        assert!(bytes(&out) == bytes(&whole), "stopped at window {stop_at}");
        assert_eq!(std::fs::read_dir(out.join("a")).unwrap().count(), FILES.len() + 1, "temporary files were left");
        std::fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_finished_run_does_nothing_again_and_refuses_other_options() {
    let folder = tempfile::tempdir().unwrap();
    let path = slide(folder.path());
    let out = folder.path().join("out");
    let (first, _) = go(&path, &options(&out, true), usize::MAX);
    let times = || FILES.map(|name| std::fs::metadata(out.join("a").join(name)).unwrap().modified().unwrap());
    let before = times();
    let (again, windows) = go(&path, &options(&out, true), usize::MAX);
    assert_eq!((windows, times()), (0, before));
    assert_eq!(again.unwrap().nuclei.count, first.unwrap().nuclei.count);
    let other = Options { batch: 2, ..options(&out, true) };
    let (refused, windows) = go(&path, &other, usize::MAX);
    assert!(windows == 0 && refused.unwrap_err().to_string().contains("other options"));
    assert_eq!(times(), before);
    std::fs::remove_file(out.join("a/nuclei.csv")).unwrap();
    assert!(go(&path, &options(&out, true), usize::MAX).1 > 0, "a file is gone");
}

#[test]
fn shards_make_the_files_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = slide(folder.path());
    let whole = folder.path().join("whole");
    let (_, windows) = go(&path, &options(&whole, false), usize::MAX);
    let out = folder.path().join("out");
    let options = options(&out, true);
    let computed = Arc::new(AtomicUsize::new(0));
    let mut shard = |index: usize| {
        let network = Watched { windows: computed.clone(), stop_at: 0, stop: Arc::default(), pause: Duration::ZERO };
        let shard = Shard { index, count: 3 };
        segment_shard(&path, &model(Some(0.5)), &mut [Box::new(network)], &options, shard, &Silent).unwrap()
    };
    let last = [2, 0, 1].map(&mut shard)[2];
    assert_eq!((last.stored, computed.load(Ordering::Relaxed)), (last.bands, windows));
    assert_eq!(shard(1).computed, 0, "a shard that is done does nothing");
    let damaged = out.join("a/.bands/1");
    let mut band = std::fs::read(&damaged).unwrap();
    *band.last_mut().unwrap() ^= 1;
    std::fs::write(&damaged, band).unwrap();
    let (merged, again) = go(&path, &options, usize::MAX);
    merged.unwrap();
    assert!(again > 0 && again < windows / 3, "the damaged band only: {again} of {windows}");
    assert!(bytes(&out) == bytes(&whole));
}

const CHILD: &str = "SEGMENT_IN_A_CHILD";

#[test]
#[ignore = "the child of the test below: it is started with a folder and killed"]
fn child() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let network = Watched { windows: Arc::default(), stop_at: 0, stop: Arc::default(), pause: Duration::from_millis(3) };
    let options = options(&folder.join("out"), true);
    segment(&folder.join("a.tif"), &model(Some(0.5)), &mut [Box::new(network)], &options, &Silent).unwrap();
}

#[test]
fn kills_at_any_time_cost_nothing_but_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = slide(folder.path());
    let whole = folder.path().join("whole");
    go(&path, &options(&whole, false), usize::MAX).0.unwrap();
    let mut kills = 0;
    for round in 0..40u64 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "resume::child"])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap();
        let deadline = Instant::now() + Duration::from_millis(20 + 37 * round % 170);
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
        let done = folder.path().join("out/a/summary.json").exists();
        assert!(!done || bytes(&folder.path().join("out")) == bytes(&whole), "round {round}: a summary vouches for other files");
    }
    let out = folder.path().join("out");
    go(&path, &options(&out, true), usize::MAX).0.unwrap();
    assert!(kills > 0 && bytes(&out) == bytes(&whole));
    assert_eq!(std::fs::read_dir(out.join("a")).unwrap().count(), FILES.len() + 1, "temporary files were left");
}

//! Slides that change while they are read: the run ends with an error, or the output has the hash of the bytes that were read.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use infer::network::Network;
use infer::output::{SUMMARY, Summary};
use infer::segment::{Options, segment};
use support::console::Silent;
use support::{Result, durable};

use crate::picture::{Darkness, model, save_tiff, tissue};
use crate::random::Random;

type Change = fn(&Path);

/// Network that changes the slide at its first call.
struct ChangingNetwork {
    slide: PathBuf,
    change: Option<Change>,
}

impl Network for ChangingNetwork {
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>> {
        if let Some(change) = self.change.take() {
            // Longer than the resolution of file times.
            std::thread::sleep(Duration::from_millis(30));
            change(&self.slide);
        }
        Darkness.quantised(images, batch, height, width)
    }
}

/// Writes two pictures of one size, `a` and `other`, as tiled pyramids or as plain images; returns the path of `a`.
fn save(folder: &Path, extension: &str) -> PathBuf {
    for (name, seed) in [("a", 41), ("other", 42)] {
        let picture = tissue(&mut Random(seed), 500, 700);
        let path = folder.join(name).with_extension(extension);
        if extension == "tif" {
            save_tiff(&picture, &path, Some(0.5));
        } else {
            image::RgbImage::from_raw(500, 700, picture.data).unwrap().save(&path).unwrap();
        }
    }
    folder.join("a").with_extension(extension)
}

/// Segments a slide at the scale of 0.5 µm per pixel, with a change during the run.
fn run(slide: &Path, out: &Path, resume: bool, change: Option<Change>) -> Result<Summary> {
    let network = ChangingNetwork { slide: slide.to_owned(), change };
    let options = Options { out: out.to_owned(), tile: Some(112), mpp: Some(0.5), resume, ..Options::default() };
    segment(slide, &model(Some(0.5)), &mut [Box::new(network)], &options, &Silent)
}

/// Returns the path of the second picture of [`save`].
fn other(slide: &Path) -> PathBuf {
    slide.with_file_name("other").with_extension(slide.extension().unwrap())
}

fn overwrite(slide: &Path) {
    std::fs::write(slide, std::fs::read(other(slide)).unwrap()).unwrap();
}

/// Truncates the file to half of its length.
fn truncate(slide: &Path) {
    let file = File::options().write(true).open(slide).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

fn append(slide: &Path) {
    std::io::Write::write_all(&mut File::options().append(true).open(slide).unwrap(), b"more").unwrap();
}

fn touch(slide: &Path) {
    File::options().write(true).open(slide).unwrap().set_modified(SystemTime::now()).unwrap();
}

/// Changes 100 bytes and restores the time of modification, as programs do that copy a file with its times.
fn overwrite_and_restore_the_time(slide: &Path) {
    let modified = std::fs::metadata(slide).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(slide).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 100].fill(7);
    std::fs::write(slide, bytes).unwrap();
    File::options().write(true).open(slide).unwrap().set_modified(modified).unwrap();
}

fn replace(slide: &Path) {
    std::fs::rename(other(slide), slide).unwrap();
}

fn remove(slide: &Path) {
    std::fs::remove_file(slide).unwrap();
}

fn protect(slide: &Path) {
    std::fs::set_permissions(slide, std::fs::Permissions::from_mode(0o400)).unwrap();
}

#[test]
fn a_slide_that_is_written_to_is_an_error_and_no_output_gets_its_final_name() {
    for extension in ["tif", "png"] {
        for change in [overwrite, truncate, append, touch, overwrite_and_restore_the_time] as [Change; 5] {
            let folder = tempfile::tempdir().unwrap();
            let slide = save(folder.path(), extension);
            let original = std::fs::read(&slide).unwrap();
            let out = folder.path().join("out");
            let error = run(&slide, &out, false, Some(change)).unwrap_err();
            assert!(error.to_string().contains(&format!("a.{extension} changed while the slide was read")), "{error}");
            assert!(error.hint_text().is_some());
            let left: Vec<_> = std::fs::read_dir(out.join("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert!(left.iter().all(|name| name == ".bands"), "{left:?}");

            // Bands that were stored before the change belong to the original slide.
            std::fs::write(&slide, original).unwrap();
            let resumed = run(&slide, &out, true, None).unwrap();
            let whole = folder.path().join("whole");
            assert_eq!(run(&slide, &whole, false, None).unwrap().nuclei.count, resumed.nuclei.count);
            for name in ["nuclei.csv", "probability.tif", "mask.tif"] {
                assert!(std::fs::read(out.join("a").join(name)).unwrap() == std::fs::read(whole.join("a").join(name)).unwrap(), "{name}");
            }
        }
    }
}

#[test]
fn a_slide_that_is_replaced_removed_or_protected_is_read_and_hashed_through_its_handle() {
    for extension in ["tif", "png"] {
        let folder = tempfile::tempdir().unwrap();
        let slide = save(folder.path(), extension);
        let whole = folder.path().join("whole");
        run(&slide, &whole, false, None).unwrap();
        for change in [replace, remove, protect] as [Change; 3] {
            let folder = tempfile::tempdir().unwrap();
            let slide = save(folder.path(), extension);
            let sha256 = durable::sha256_of_file(&slide).unwrap();
            let out = folder.path().join("out");
            let summary = run(&slide, &out, false, Some(change)).unwrap();
            assert_eq!(summary.slide.sha256, sha256);
            assert!(out.join("a").join(SUMMARY).exists());
            let table = |out: &Path| std::fs::read(out.join("a/nuclei.csv")).unwrap();
            assert!(table(&out) == table(&whole), "{extension}");
        }
    }
}

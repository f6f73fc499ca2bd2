//! Measurements of time and memory without the network: `cargo test --release -p infer --test slides -- --ignored --nocapture figures`.

use std::time::Instant;

use infer::instances::Extractor;
use infer::network::Network;
use infer::output::overlay::Overlay;
use infer::output::writers::{Source, Wanted, Writers};
use infer::output::{Files, Frame, Outlines};
use infer::pyramid::PyramidWriter;
use infer::segment::{Halo, Options, segment};
use models::card::ModelCard;
use models::decode::Decoding;
use slides::Rgb;
use slides::scaled::Scale;
use support::Result;
use support::console::Silent;
use support::durable::{AtomicFile, FolderLock};

use crate::picture::{card, model, model_of, tissue};
use crate::random::Random;

/// Threshold of the red channel in place of a network, at almost no cost.
struct Threshold;

impl Network for Threshold {
    fn quantised(&mut self, images: &[u8], _: usize, _: usize, _: usize) -> Result<Vec<u8>> {
        Ok(images.chunks_exact(3).map(|pixel| if pixel[0] < 128 { 220 } else { 10 }).collect())
    }
}

#[test]
#[ignore = "prints measurements: needs a minute and a gigabyte of disk"]
fn figures_of_a_large_slide() {
    let (patch, repeats) = (1500, 10);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.tif");
    let picture = tissue(&mut Random(31), patch, patch);
    let file = AtomicFile::create(&path).unwrap();
    let mut writer = PyramidWriter::new(file, patch * repeats, patch * repeats, 3, Some([0.5; 2])).unwrap();
    for y in 0..patch * repeats {
        writer.push(&picture.row(y % patch).repeat(repeats)).unwrap();
    }
    writer.finish().unwrap().commit().unwrap();
    for (mpp, tile) in [(0.5, 1024), (0.5, 2048), (0.7, 2048)] {
        let options = Options { out: folder.path().join("out"), tile: Some(tile), halo: Halo::Px(96), ..Options::default() };
        let mut networks: Vec<Box<dyn Network>> = vec![Box::new(Threshold)];
        let summary = segment(&path, &model(Some(mpp)), &mut networks, &options, &Silent).unwrap();
        let timings = serde_json::to_string_pretty(&summary.timings).unwrap();
        eprintln!("{mpp} µm/px, tile {tile}: {} nuclei, {timings}, {}", summary.nuclei.count, peak_memory());
    }
}

/// Draws rows of 2500 x 2000 discs with a distance of 20 px and radii of 5 to 8 px by a hash.
fn five_million(y: usize, rows: &mut [u8]) {
    for (y, row) in (y..).zip(rows.chunks_exact_mut(2500 * 20)) {
        for (cell, pixels) in row.chunks_exact_mut(20).enumerate() {
            let radius = 5 + (cell * 7919 + y / 20 * 104_729) / 13 % 4;
            for (x, pixel) in pixels.iter_mut().enumerate() {
                let inside = x.abs_diff(10).pow(2) + (y % 20).abs_diff(10).pow(2) <= radius * radius;
                *pixel = if inside { 200 } else { 3 };
            }
        }
    }
}

#[test]
#[ignore = "two minutes and a gigabyte of disk; must run alone, because it measures the memory of the process"]
fn five_million_nuclei_in_less_than_a_gigabyte() {
    let (width, height) = (2500 * 20, 2000 * 20);
    let folder = tempfile::tempdir().unwrap();
    let card = card(None);
    let scale =
        Scale { level: 0, level_from_model: [1.0; 2], slide_from_model: [1.0; 2], size_px: [width, height], effective_mpp: Some([0.5; 2]) };
    let mut files = Files::new(folder.path(), &FolderLock::exclusive(folder.path()).unwrap(), false).unwrap();
    let overlay = Overlay::new([width, height], Rgb::filled(2048, 1638, [255; 3]));
    let wanted = Wanted { extra: &[], outlines: &Outlines::default() };
    let source = Source { slide_sha256: "ab", model_sha256: "cd", class: &card.classes[0] };
    let mut writers = Writers::new(&files, &wanted, &source, &scale, Frame::new(&scale, [0.0; 2]), overlay).unwrap();
    let mut extractor = Extractor::new(width, height, &Decoding::splitting());
    let began = Instant::now();
    let (mut rows, colours) = (vec![0; width * 128], vec![99; width * 128 * 3]);
    for y in (0..height).step_by(128) {
        let rows = &mut rows[..width * 128.min(height - y)];
        five_million(y, rows);
        writers.add(&extractor.push(rows, &colours[..3 * rows.len()])).unwrap();
    }
    writers.add(&extractor.finish()).unwrap();
    let (facts, note) = writers.finish(&mut files).unwrap();
    let peak = peak_memory();
    eprintln!("{} nuclei in {:.0?}, {peak}", facts.count, began.elapsed());
    assert_eq!(facts.count, 5_000_000);
    assert!(note.is_some(), "an image of this size has no label image");
    let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 1 << 20, "{peak}");
}

#[test]
#[ignore = "ten minutes and some gigabytes of disk; must run alone, because it measures the memory of the process"]
fn memory_is_flat_in_the_size_of_the_slide() {
    infer::memory::return_large_blocks();
    let picture = tissue(&mut Random(31), 1024, 1024);
    for repeats in [4, 8, 16, 32] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.tif");
        let file = AtomicFile::create(&path).unwrap();
        let mut writer = PyramidWriter::new(file, 1024 * repeats, 1024 * repeats, 3, Some([0.5; 2])).unwrap();
        (0..1024 * repeats).for_each(|y| writer.push(&picture.row(y % 1024).repeat(repeats)).unwrap());
        writer.finish().unwrap().commit().unwrap();
        let options = Options { out: folder.path().join("out"), tile: Some(1024), halo: Halo::Px(64), ..Options::default() };
        let mut networks: Vec<Box<dyn Network>> = vec![Box::new(Threshold)];
        let card = ModelCard { decoding: Decoding::splitting(), ..card(Some(0.5)) };
        let summary = segment(&path, &model_of(&card), &mut networks, &options, &Silent).unwrap();
        eprintln!(
            "{0} x {0}: {1} nuclei, {2:.1} s, {3}",
            1024 * repeats,
            summary.nuclei.count,
            summary.timings.wall_seconds,
            peak_memory()
        );
    }
}

/// Returns the line of `/proc/self/status` with the peak of the resident memory.
pub fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("peak memory unknown").to_owned()
}

//! Figures of everything but the network, by hand: `cargo test --release -p infer --test slides -- --ignored --nocapture figures`.

use infer::output::pyramid::PyramidWriter;
use infer::segment::{Halo, Options, segment};
use infer::segmenter::Network;
use models::Result;
use models::artifact::AtomicFile;
use models::console::Silent;

use crate::picture::{card, tissue};
use crate::random::Random;

/// Dark red is nucleus: costs nothing.
struct Threshold;

impl Network for Threshold {
    fn quantised(&mut self, images: &[u8], _: usize, _: usize, _: usize) -> Result<Vec<u8>> {
        Ok(images.chunks_exact(3).map(|pixel| if pixel[0] < 128 { 220 } else { 10 }).collect())
    }
}

#[test]
#[ignore = "figures for people: takes a minute and a gigabyte of disk"]
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
        let summary = segment(&path, &card(Some(mpp)), "ab", &mut networks, &options, &Silent).unwrap();
        let timings = serde_json::to_string_pretty(&summary.timings).unwrap();
        eprintln!("{mpp} µm/px, tile {tile}: {} nuclei, {timings}, {}", summary.nuclei.count, peak_memory());
    }
}

/// The line of the kernel's account that tells the largest resident set so far.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("peak memory unknown").to_owned()
}

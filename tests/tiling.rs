//! Independence of tiling: equal labels for every tile size and batch size, through the whole pipeline, for ONNX Runtime and the own kernels.

use std::path::{Path, PathBuf};

use infer::model::Model;
use infer::network::Network;
use infer::runtime::Device;
use infer::segment::{Halo, Options, segment};
use infer::segmenter::{self, Segmenter};
use models::unet::UNetConfig;
use support::console::Silent;
use train::rng::CounterRng;
use whole_road_tests::{exported, narrow, save, tissue};

/// Labels and quantised probabilities of a slide.
struct Outputs {
    labels: image::ImageBuffer<image::Luma<u16>, Vec<u16>>,
    probabilities: Vec<u8>,
}

fn run(slide: &Path, model: &Model, out: &Path, halo: Halo, tile: usize, batch: usize) -> Outputs {
    run_on(Device::Cpu, slide, model, out, halo, [tile, batch])
}

fn run_on(device: Device, slide: &Path, model: &Model, out: &Path, halo: Halo, [tile, batch]: [usize; 2]) -> Outputs {
    let network = Segmenter::new(model, &segmenter::Options { device, ..segmenter::Options::default() }).unwrap();
    let mut networks: Vec<Box<dyn Network>> = vec![Box::new(network)];
    let options = Options { out: out.to_owned(), halo, tile: Some(tile), batch, ..Options::default() };
    segment(slide, model, &mut networks, &options, &Silent).unwrap();
    let folder = out.join(slide.file_stem().unwrap());
    let labels = image::open(folder.join("labels.png")).unwrap().into_luma16();
    let probabilities = image::open(folder.join("probability.tif")).unwrap().into_luma8().into_raw();
    Outputs { labels, probabilities }
}

fn slide(folder: &Path, width: usize, height: usize) -> PathBuf {
    let path = folder.join(format!("{width}x{height}.png"));
    save(&tissue(width, height, (width * height) as u64), &path);
    path
}

/// Compares `triples` of (size, tile, batch) at the exact halo with one window over the whole slide; returns the number of nuclei.
fn compare_at_exact_halo(config: &UNetConfig, triples: usize, sizes: std::ops::Range<usize>, seed: u64) -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let (_, model) = exported(folder.path(), config, seed, Vec::new());
    let reach = model.card.reach_px;
    let mut draw = CounterRng::new(seed, "triples", 0, 0, 0);
    let mut nuclei = 0;
    for i in 0..triples {
        let mut side = || sizes.start + draw.below(sizes.len());
        let slide = slide(folder.path(), side(), side());
        // The smallest window has a core of one stride; the largest here has four.
        let tile = 2 * reach + 32 * (1 + draw.below(4));
        let batch = 1 + draw.below(3);
        let whole = run(&slide, &model, &folder.path().join(format!("whole {i}")), Halo::Exact, 4096, 1);
        let tiled = run(&slide, &model, &folder.path().join(format!("tiled {i}")), Halo::Exact, tile, batch);
        assert!(whole.labels == tiled.labels, "{} tile {tile} batch {batch}", slide.display());
        let worst = whole.probabilities.iter().zip(&tiled.probabilities).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{} tile {tile} batch {batch}: {worst:?}", slide.display());
        nuclei += u32::from(*whole.labels.iter().max().unwrap());
    }
    nuclei
}

#[test]
fn labels_are_equal_for_twenty_sizes_tiles_and_batches_at_the_exact_halo() {
    // Slides are up to 1.5 times as large as the smallest window, so that most of them have several windows.
    assert!(compare_at_exact_halo(&narrow(), 20, 700..1700, 1) > 0);
}

#[test]
fn labels_of_the_full_size_network_are_equal_at_the_exact_halo() {
    compare_at_exact_halo(&UNetConfig::default(), 2, 1150..1250, 2);
}

#[test]
fn own_kernels_give_the_same_labels_for_every_tile_and_batch() {
    let mut nuclei = 0;
    for seed in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let (_, model) = exported(folder.path(), &narrow(), seed, Vec::new());
        let slide = slide(folder.path(), 1419 + 50 * seed as usize, 1333);
        let run = |tile: usize, batch: usize| {
            let out = folder.path().join(format!("{tile} {batch}"));
            run_on(Device::Native, &slide, &model, &out, Halo::Exact, [tile, batch])
        };
        let whole = run(4096, 1);
        nuclei += u32::from(*whole.labels.iter().max().unwrap());
        for (strides, batch) in [(1, 1), (2, 3), (9, 2)] {
            let tiled = run(2 * model.card.reach_px + 32 * strides, batch);
            let differences = || whole.probabilities.iter().zip(&tiled.probabilities).map(|(a, b)| a.abs_diff(*b));
            assert!(whole.labels == tiled.labels, "seed {seed}, {strides} strides, batch {batch}");
            // A difference of one step of 1/255 occurs where rounding in f32 falls on either side of a step.
            assert!(differences().max() <= Some(1), "seed {seed}, {strides} strides, batch {batch}");
            let differ = differences().filter(|d| *d > 0).count();
            assert!(differ * 10_000 < whole.probabilities.len(), "seed {seed}, {strides} strides, batch {batch}: {differ} pixels");
        }
    }
    assert!(nuclei > 0, "there are no nuclei");
}

#[test]
fn differences_at_the_measured_halo_are_within_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let slide = slide(folder.path(), 1500, 1400);
    let (_, model) = exported(folder.path(), &narrow(), 4, vec![slide.clone()]);
    let reach = model.card.effective_reach.clone().expect("measured on the slide");
    assert!(reach.px < model.card.reach_px, "{reach:?}");
    let whole = run(&slide, &model, &folder.path().join("whole"), Halo::Exact, 4096, 1);
    let tiled = run(&slide, &model, &folder.path().join("tiled"), Halo::Card, 2 * reach.px + 128, 2);
    let differences = whole.probabilities.iter().zip(&tiled.probabilities).map(|(a, b)| a.abs_diff(*b));
    let worst = differences.clone().max().unwrap();
    let level = model.card.decoding.first_foreground_level();
    let flips = whole.probabilities.iter().zip(&tiled.probabilities).filter(|(a, b)| (**a >= level) != (**b >= level)).count();
    let fraction = flips as f64 / whole.probabilities.len() as f64;
    println!("halo {} of {}: worst {worst}/255, {fraction:.1e} of the mask flips", reach.px, model.card.reach_px);
    // Probabilities that differ by less than 1/255 differ by at most one step after rounding.
    assert!(worst <= 1, "{worst}/255 at halo {}", reach.px);
}

//! Parity of training and inference: the network in candle against the exported file in ONNX Runtime.

use std::sync::Arc;

use models::unet::{UNetConfig, unet};
use models::weights::{Weights, WeightsFile};
use support::console::Silent;
use train::network::Network;
use train::network::kernels::Cpu;
use train::predict::probabilities;
use train::rng::CounterRng;
use whole_road_tests::{exported, install_runtime, narrow, segmenter, tissue, weights};

/// Returns the largest difference of a probability over images of random sizes, which are multiples of the stride as tiles are.
fn largest_difference(config: &UNetConfig, sizes: usize, seed: u64) -> f32 {
    let folder = tempfile::tempdir().unwrap();
    let (_, model) = exported(folder.path(), config, seed, Vec::new());
    let mut shipped = segmenter(&model);
    let trained = Network::new(unet(config), &weights(config, seed), Arc::new(Cpu::default())).unwrap();
    let mut draw = CounterRng::new(seed, "sizes", 0, 0, 0);
    let mut worst = 0.0f32;
    for i in 0..sizes {
        let (width, height) = (32 * (1 + draw.below(8)), 32 * (1 + draw.below(8)));
        let image = tissue(width, height, i as u64);
        let ours = probabilities(&trained, &image).unwrap();
        let theirs = shipped.probabilities(&image.data, 1, height, width).unwrap();
        let difference = ours.data.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(difference.is_finite() && ours.data.iter().any(|p| *p > 0.0));
        worst = worst.max(difference);
    }
    println!("largest difference over {sizes} sizes: {worst:.2e}");
    worst
}

#[test]
fn the_full_size_network_agrees_within_1e_4() {
    assert!(largest_difference(&UNetConfig::default(), 8, 1) <= 1e-4);
}

#[test]
fn narrow_networks_with_either_head_agree_within_1e_4() {
    assert!(largest_difference(&narrow(), 20, 2) <= 1e-4);
    assert!(largest_difference(&UNetConfig { head_kernel: 3, ..narrow() }, 10, 3) <= 1e-4);
}

/// A checkpoint contains the result of training for one image. The export compares its own result, which detects weights that changed since.
#[test]
fn export_detects_changed_weights_by_the_parity_reference_of_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    install_runtime();
    let config = narrow();
    let mut arrays = weights(&config, 4);
    let trained = Network::new(unet(&config), &arrays, Arc::new(Cpu::default())).unwrap();
    arrays.extend(train::parity_reference::arrays(&trained).unwrap());
    let tile = tissue(256, 256, 4);
    let tile_path = folder.path().join("tile.png");
    image::RgbImage::from_raw(256, 256, tile.data).unwrap().save(&tile_path).unwrap();
    let export = |arrays: Weights| {
        let checkpoint = folder.path().join("checkpoint.safetensors");
        let metadata = [("format", "nuclei-checkpoint-1".to_owned()), ("unet", serde_json::to_string(&config).unwrap())];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        WeightsFile { arrays, metadata, verified: true }.write(&checkpoint).unwrap();
        let options = export::Options { tiles: vec![tile_path.clone()], ..export::Options::default() };
        export::onnx(&checkpoint, &folder.path().join("model.onnx"), &options, &Silent)
    };
    let parity = export(arrays.clone()).unwrap().card.form.training_parity.expect("the checkpoint has a parity_reference");
    assert!(parity.pixels == 96 * 128 && parity.max_change <= 1e-4, "{parity:?}");
    let head = arrays.get_mut("segmentation_head.0.weight").unwrap();
    head.data.iter_mut().for_each(|w| *w = -*w);
    let error = export(arrays).unwrap_err();
    assert!(error.to_string().contains("differ from those of training") && error.hint_text().is_some(), "{error:?}");
}

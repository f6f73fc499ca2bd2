//! candle and ONNX Runtime say the same: the network as it was trained against the file that ships.

use std::sync::Arc;

use models::unet::{UNetConfig, unet};
use train::evaluate::probabilities;
use train::network::Network;
use train::network::kernels::Cpu;
use train::rng::Draw;
use whole_road_tests::{exported, narrow, segmenter, tissue, weights};

/// The largest difference of a probability over random sizes; images are multiples of the stride, as tiles are.
fn largest_difference(config: &UNetConfig, sizes: usize, seed: u64) -> f32 {
    let folder = tempfile::tempdir().unwrap();
    let (_, model) = exported(folder.path(), config, seed, Vec::new());
    let mut shipped = segmenter(&model);
    let trained = Network::new(unet(config), &weights(config, seed), Arc::new(Cpu::default())).unwrap();
    let mut draw = Draw::new(seed, "sizes", 0, 0, 0);
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
fn the_real_network_within_1e_4() {
    assert!(largest_difference(&UNetConfig::default(), 8, 1) <= 1e-4);
}

#[test]
fn narrow_networks_with_either_head_within_1e_4() {
    assert!(largest_difference(&narrow(), 20, 2) <= 1e-4);
    assert!(largest_difference(&UNetConfig { head_kernel: 3, ..narrow() }, 10, 3) <= 1e-4);
}

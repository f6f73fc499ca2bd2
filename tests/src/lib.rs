//! Common parts of the tests from training to segmentation: networks with known weights, their exported models, synthetic tissue.

use std::path::{Path, PathBuf};
use std::sync::Once;

use infer::model::Model;
use infer::segmenter::{Options, Segmenter};
use models::graph::{Parameter, Role};
use models::unet::{UNetConfig, unet};
use models::weights::{Array, Weights, WeightsFile};
use support::console::Silent;
use train::data::RgbImage;
use train::rng::CounterRng;

/// Returns a network that is narrow enough for many large images: the paper's depth and reach with an eighth of its channels.
pub fn narrow() -> UNetConfig {
    UNetConfig { encoder_width: 8, decoder_channels: [32, 16, 16, 16, 16], ..UNetConfig::default() }
}

/// Returns random weights of the magnitude of a trained network: unit gain in every layer, non-trivial running statistics.
pub fn weights(config: &UNetConfig, seed: u64) -> Weights {
    unet(config).parameters().iter().map(|parameter| (parameter.name.clone(), values(parameter, seed))).collect()
}

/// Returns the random values of one parameter, which depend on its name and the seed.
fn values(parameter: &Parameter, seed: u64) -> Array {
    let mut draw = CounterRng::new(seed, &parameter.name, 0, 0, 0);
    let fan_in: usize = parameter.shape.iter().skip(1).product();
    let bound = (3.0 / fan_in as f64).sqrt();
    let mut value = || {
        let u = draw.range(-1.0, 1.0);
        match parameter.role {
            Role::Weight => bound * u,
            Role::Scale => 1.0 + 0.1 * u,
            Role::Shift | Role::Bias | Role::RunningMean => 0.1 * u,
            Role::RunningVar => 1.0 + 0.5 * u.abs(),
        }
    };
    Array::new(parameter.shape.clone(), (0..parameter.count()).map(|_| value() as f32).collect())
}

/// Writes a checkpoint with [`weights`] and exports the network; the effective reach is measured on `tiles`.
pub fn exported(folder: &Path, config: &UNetConfig, seed: u64, tiles: Vec<PathBuf>) -> (PathBuf, Model) {
    install_runtime();
    let checkpoint = folder.join("checkpoint.safetensors");
    let metadata = [("format", "nuclei-checkpoint-1".to_owned()), ("unet", serde_json::to_string(config).unwrap())];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    WeightsFile { arrays: weights(config, seed), metadata, verified: true }.write(&checkpoint).unwrap();
    let model = folder.join("model.onnx");
    export::onnx(&checkpoint, &model, &export::Options { tiles, ..export::Options::default() }, &Silent).unwrap();
    (checkpoint, Model::open(&model).unwrap())
}

/// Creates a session of ONNX Runtime on the CPU.
pub fn segmenter(model: &Model) -> Segmenter {
    Segmenter::new(model, &Options { device: infer::runtime::Device::Cpu, ..Options::default() }).unwrap()
}

/// Installs ONNX Runtime into the cache if it is missing; the first call needs Python with pip.
pub fn install_runtime() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        infer::runtime::install(None, None)
            .unwrap_or_else(|error| panic!("ONNX Runtime is fetched by `python3 -m pip download`: {error:?}"));
    });
}

/// Returns synthetic stained tissue: a light background with smooth shades and dark discs.
pub fn tissue(width: usize, height: usize, seed: u64) -> RgbImage {
    let mut draw = CounterRng::new(seed, "tissue", 0, 0, 0);
    let mut data: Vec<u8> = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        for x in 0..width {
            let shade = 12.0 * ((x as f64 / 37.0).sin() + (y as f64 / 53.0).cos());
            let noise = draw.range(-10.0, 10.0);
            data.extend([225.0, 190.0, 215.0].map(|v| (v + shade + noise).clamp(0.0, 255.0) as u8));
        }
    }
    for _ in 0..width * height / 900 {
        let (cx, cy, r) = (draw.below(width) as isize, draw.below(height) as isize, 3 + draw.below(7) as isize);
        for y in (cy - r).max(0)..(cy + r).min(height as isize) {
            for x in (cx - r).max(0)..(cx + r).min(width as isize) {
                if (x - cx).pow(2) + (y - cy).pow(2) < r * r {
                    let i = 3 * (y as usize * width + x as usize);
                    data[i..i + 3].copy_from_slice(&[90, 60, 140]);
                }
            }
        }
    }
    RgbImage::new(width, height, data).unwrap()
}

/// Writes a picture as PNG.
pub fn save(image: &RgbImage, path: &Path) {
    support::durable::write(path, &train::data::image_file::png_of_rgb(image).unwrap()).unwrap();
}

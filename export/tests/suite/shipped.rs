//! Whole conversions from a checkpoint to a model file that runs, with helpers for the other tests.
//!
//! The tests that run a model download ONNX Runtime by the function of `infer runtime install`, which needs Python with pip and a package
//! index once.

use std::path::{Path, PathBuf};

use crate::reference::{FeatureMap, evaluate, formula_weights, unit_numbers};
use export::Options;
use export::about::About;
use export::writer::Arithmetic;
use infer::model::Model;
use infer::network::Network;
use infer::segmenter::{self, Segmenter, session};
use models::card::Training;
use models::colour::ColourStatistics;
use models::decode::quantise;
use models::graph::Graph;
use models::unet::{UNetConfig, unet};
use models::weights::WeightsFile;
use ort::value::TensorRef;
use support::console::Silent;
use support::durable;

pub fn small() -> UNetConfig {
    UNetConfig { encoder_width: 4, decoder_channels: [8, 6, 4, 4, 2], ..UNetConfig::default() }
}

/// Colours of the grid tiles of its training images.
const COLOURS: [[f64; 3]; 3] = [[0.3, 0.5, 0.3], [0.2, 0.41, 0.27], [0.37, 0.55, 0.31]];

/// Writes a checkpoint like those of `train`.
pub fn checkpoint(folder: &Path, config: &UNetConfig) -> PathBuf {
    let training =
        Training { iterations: 7, images: 3, labelled_share: 0.1, colours: ColourStatistics::of_colours(&COLOURS), ..Training::default() };
    let metadata = [
        ("format", export::checkpoint::FORMAT.to_owned()),
        ("unet", serde_json::to_string(config).unwrap()),
        ("training", serde_json::to_string(&training).unwrap()),
        ("model", r#"{"name": "tiny", "microns_per_pixel": 0.5, "licence": "CC0-1.0"}"#.to_owned()),
        ("config", "[data]\nfolder = \"gone\"\n".to_owned()),
    ];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let path = folder.join("best.safetensors");
    WeightsFile { arrays: formula_weights(&unet(config)), metadata, verified: false }.write(&path).unwrap();
    path
}

pub fn exported(folder: &Path, options: &Options) -> PathBuf {
    let path = folder.join("nuclei.onnx");
    export::onnx(&checkpoint(folder, &small()), &path, options, &Silent).unwrap();
    path
}

pub fn install_runtime() {
    infer::runtime::install(None, None).expect("ONNX Runtime is needed for this test; Python with pip fetches it");
}

fn golden(name: &str) -> WeightsFile {
    let folder =
        std::env::var_os("GOLDEN_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden"), PathBuf::from);
    WeightsFile::read(&folder.join(name)).unwrap()
}

fn assert_close(expected: &[f32], found: &[f32], relative: f32) {
    assert_eq!(expected.len(), found.len());
    let largest = expected.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
    let worst = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= relative * largest, "values up to {largest} differ by {worst}");
}

/// Golden vectors `unet_eval`: torch 2.11 in f64, weights by formula (tests/data/golden/README.md); tolerance 1e-4 of the largest value.
#[test]
fn the_default_network_gives_the_logits_and_feature_taps_of_torch() {
    install_runtime();
    let file = golden("unet_eval.safetensors");
    let graph = unet(&UNetConfig::default());
    let weights = formula_weights(&graph);
    for (key, node) in
        [("logits", graph.output), ("tap3", graph.feature_tap("block3").unwrap()), ("tap5", graph.feature_tap("block5").unwrap())]
    {
        let part = Graph { output: node, ..graph.clone() };
        let (part, weights) = export::pass::fold_batch_norm(export::pass::only_output((part, weights.clone())));
        let written = export::writer::write(&part, &weights, &Arithmetic::F32, &std::collections::BTreeMap::new()).unwrap();
        let mut session = session(&written.bytes, &segmenter::Options::default()).unwrap();
        for case in ["a", "b"] {
            let input = &file.arrays[&format!("{case}.input")];
            let shape: [usize; 4] = input.shape.as_slice().try_into().unwrap();
            let tensor = TensorRef::from_array_view((shape, input.data.as_slice())).unwrap();
            let outputs = session.run(ort::inputs![tensor]).unwrap();
            let found = outputs[0].try_extract_tensor::<f32>().unwrap().1;
            assert_close(&file.arrays[&format!("{case}.{key}")].data, found, 1e-4);
        }
    }
}

/// ONNX Runtime on the shipped file against the f64 reference interpreter on the graph before any pass.
#[test]
fn the_shipped_file_gives_the_reference_probabilities() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let model = Model::open(&exported(folder.path(), &Options::default())).unwrap();
    let mut segmenter = Segmenter::new(&model, &segmenter::Options::default()).unwrap();
    let (height, width) = (64, 96);
    let image: Vec<u8> = unit_numbers("image").take(height * width * 3).map(|u| ((u + 1.0) * 128.0) as u8).collect();
    let features = (0..3 * height * width).map(|i| {
        let (c, pixel) = (i / (height * width), i % (height * width));
        let normalisation = &model.card.normalisation;
        (f64::from(image[3 * pixel + c]) / 255.0 - f64::from(normalisation.mean[c])) / f64::from(normalisation.std[c])
    });
    let graph = unet(&small()).only_output();
    let logits = evaluate(&graph, &formula_weights(&graph), &FeatureMap::new(3, height, width, features.collect()));
    let (z0, z1) = logits.data.split_at(height * width);
    let expected: Vec<f32> = z0.iter().zip(z1).map(|(z0, z1)| (1.0 / (1.0 + (z0 - z1).exp())) as f32).collect();
    let found = segmenter.probabilities(&image, 1, height, width).unwrap();
    assert_close(&expected, &found, 1e-5);
    let bytes: Vec<u8> = found.iter().map(|&p| quantise(p)).collect();
    assert_eq!(segmenter.quantised(&image, 1, height, width).unwrap(), bytes);
    let error = segmenter.quantised(&image, 1, width, height - 1).unwrap_err().to_string();
    assert!(error.contains("multiples of 32"), "{error}");
}

#[test]
fn the_card_takes_the_entries_of_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path =
        exported(folder.path(), &Options { about: About { microns_per_pixel: Some(0.25), ..About::default() }, ..Options::default() });
    let card = Model::open(&path).unwrap().card;
    assert_eq!((card.name.as_str(), card.licence.as_str()), ("tiny", "CC0-1.0"));
    assert_eq!((card.microns_per_pixel, card.stride, card.reach_px), (Some(0.25), 32, 544));
    assert_eq!((card.training.iterations, card.effective_reach), (7, None));
    assert_eq!(card.training.checkpoint_sha256, durable::sha256_of_file(&folder.path().join("best.safetensors")).unwrap());
    assert_eq!(card.training.colours, ColourStatistics::of_colours(&COLOURS));
    assert!(card.training.config.contains("gone"));
}

#[test]
fn the_effective_reach_is_measured_and_twenty_exports_are_identical() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = unit_numbers("tile").take(300 * 200 * 3).map(|u| ((u + 1.0) * 128.0) as u8).collect();
    image::RgbImage::from_raw(300, 200, noise).unwrap().save(folder.path().join("tile.png")).unwrap();
    let options = Options { tiles: vec![folder.path().join("tile.png")], ..Options::default() };
    let first = durable::read(&exported(folder.path(), &options), 1 << 30).unwrap();
    let reach = Model::from_bytes(first.clone()).unwrap().card.effective_reach.unwrap();
    assert_eq!((reach.tiles, reach.core_px, reach.curve.len()), (4, 256, 10));
    assert!(reach.max_change <= reach.tolerance && reach.px.is_multiple_of(32), "{reach:?}");
    assert!(reach.curve.iter().filter(|figures| figures.px >= reach.px).all(|figures| figures.max_change <= reach.tolerance));
    assert_eq!(reach.curve.last().unwrap().px, 544);
    let second = durable::read(&exported(folder.path(), &options), 1 << 30).unwrap();
    assert_eq!(durable::sha256(&second), durable::sha256(&first));
    let plain = durable::read(&exported(folder.path(), &Options::default()), 1 << 30).unwrap();
    for _ in 1..20 {
        let again = durable::read(&exported(folder.path(), &Options::default()), 1 << 30).unwrap();
        assert_eq!(durable::sha256(&again), durable::sha256(&plain));
    }
}

#[test]
fn verification_passes_and_reports_the_device() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let model = Model::open(&exported(folder.path(), &Options::default())).unwrap();
    let report = infer::verify::verify(&model, &segmenter::Options::default()).unwrap();
    assert_eq!(report.device, infer::runtime::Device::Cpu);
    assert!(report.range.0 < report.range.1);
}

#[test]
fn a_missing_device_is_an_error() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let model = Model::open(&exported(folder.path(), &Options::default())).unwrap();
    for device in [infer::runtime::Device::Cuda, infer::runtime::Device::TensorRt] {
        let error = Segmenter::new(&model, &segmenter::Options { device, ..segmenter::Options::default() }).err().unwrap();
        assert!(error.to_string().contains(device.name()) && error.hint_text().is_some(), "{error:?}");
    }
}

/// Without an explicit option the ONNX Runtime binding moves CPU sessions to a plugin once one is registered.
#[test]
fn openvino_agrees_with_the_cpu_and_does_not_change_cpu_sessions() {
    use infer::runtime::{Device, Library, Precision, has_intel_cpu, install_library};
    install_runtime();
    install_library(Library::OpenVino, None, None).expect("Python with pip fetches OpenVINO for this test");
    let folder = tempfile::tempdir().unwrap();
    let model = Model::open(&exported(folder.path(), &Options::default())).unwrap();
    let image: Vec<u8> = unit_numbers("image").take(64 * 96 * 3).map(|u| ((u + 1.0) * 128.0) as u8).collect();
    let on = |device, precision| {
        let options = segmenter::Options { device, precision, ..segmenter::Options::default() };
        Segmenter::new(&model, &options).unwrap().probabilities(&image, 1, 64, 96).unwrap()
    };
    let before = on(Device::Cpu, Precision::F32);
    if !has_intel_cpu() {
        let options = segmenter::Options { device: Device::OpenVino, ..segmenter::Options::default() };
        if let Err(error) = Segmenter::new(&model, &options) {
            assert!(error.hint_text().is_some_and(|hint| hint.contains("Intel")), "{error:?}");
            eprintln!("NOT RUN on OpenVINO: {error}");
            assert_eq!(on(Device::Cpu, Precision::F32), before);
            return;
        }
    }
    let exact = on(Device::OpenVino, Precision::F32);
    let short = on(Device::OpenVino, Precision::Bf16);
    assert_eq!(on(Device::Cpu, Precision::F32), before);
    assert_close(&before, &exact, 1e-4);
    assert_close(&before, &short, 5e-2);
}

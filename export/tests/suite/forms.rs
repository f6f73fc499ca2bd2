//! Every form of a model computes the plain graph's probabilities, and says in its card how nearly.

use std::path::{Path, PathBuf};

use crate::reference::{formula_weights, unit_numbers};
use crate::shipped::{checkpoint, exported, install_runtime, small};
use export::{Options, form, pass};
use infer::segmenter::{self, Model, Segmenter};
use models::card::{ModelCard, Precision, Target};
use models::unet::{Encoder, UNetConfig, unet};
use support::artifact;
use support::console::Silent;

/// A picture with dark discs: smooth, so that rounding is what differs.
fn tile(folder: &Path) -> PathBuf {
    let path = folder.join("tile.png");
    let pixel = |x: u32, y: u32| {
        let inside = (x % 40).abs_diff(20).pow(2) + (y % 40).abs_diff(20).pow(2) < 120;
        image::Rgb(if inside { [90, 50, 120] } else { [220, 190 + (x / 16) as u8, 210] })
    };
    image::RgbImage::from_fn(400, 360, pixel).save(&path).unwrap();
    path
}

/// A whole export, with all that is measured at it.
fn export_as(folder: &Path, precision: Precision) -> Model {
    let options = Options { tiles: vec![tile(folder)], precision, max_flipped: 0.05, ..Options::default() };
    let path = folder.join(format!("{precision}.onnx"));
    export::onnx(&checkpoint(folder, &small()), &path, &options, &Silent).unwrap();
    Model::open(&path).unwrap()
}

/// The bytes of one form, ranges taken from the tile.
fn formed(config: &UNetConfig, card: &ModelCard, folder: &Path, target: Target, precision: Precision) -> Model {
    let run = segmenter::Options::default();
    let graph = unet(config);
    let plain = pass::all((graph.clone(), formula_weights(&graph)), &card.normalisation);
    let sites = export::tiles::sites(&[tile(folder)], 4, 256).unwrap();
    let ranges = form::ranges(&plain, precision, &sites, &run).unwrap();
    let ((graph, weights), arithmetic) = form::lower(&plain, target, precision, ranges);
    let mut card = card.clone();
    form::record(&mut card, target, precision, None, 0.0).unwrap();
    let metadata = [(models::card::METADATA_KEY.to_owned(), card.to_json())].into();
    Model::from_bytes(export::writer::write(&graph, &weights, &arithmetic, &metadata).unwrap().bytes).unwrap()
}

/// The bytes of the graph as training has it.
fn plain(config: &UNetConfig, card: &ModelCard) -> Model {
    let graph = unet(config);
    let (graph, weights) = pass::all((graph.clone(), formula_weights(&graph)), &card.normalisation);
    let metadata = [(models::card::METADATA_KEY.to_owned(), card.to_json())].into();
    Model::from_bytes(export::writer::write(&graph, &weights, &export::writer::Arithmetic::F32, &metadata).unwrap().bytes).unwrap()
}

/// Tolerances: f32 differs by the order of sums; f16 has 11 bits, some forty layers deep; int8 has 8.
#[test]
fn every_target_and_precision_gives_the_plain_graph_s_probabilities() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let card = Model::open(&exported(folder.path(), &Options::default())).unwrap().card;
    for config in [small(), UNetConfig { encoder: Encoder::MobileNetV2, ..small() }] {
        every_form_agrees(&config, &card, folder.path());
    }
}

fn every_form_agrees(config: &UNetConfig, card: &ModelCard, folder: &Path) {
    let image: Vec<u8> = unit_numbers("image").take(96 * 128 * 3).map(|u| ((u + 1.0) * 128.0) as u8).collect();
    let run = |model: &Model| Segmenter::new(model, &segmenter::Options::default()).unwrap().probabilities(&image, 1, 96, 128).unwrap();
    let expected = run(&plain(config, card));
    for (target, precision) in Target::ALL.into_iter().flat_map(|target| Precision::ALL.map(|precision| (target, precision))) {
        let model = formed(config, card, folder, target, precision);
        assert_eq!((model.card.form.target, model.card.form.precision), (target, precision));
        let (most, on_average) = match precision {
            Precision::F32 => (1e-5, 1e-6),
            Precision::F16 => (0.02, 2e-3),
            Precision::Int8 => (0.3, 0.03),
        };
        let changes: Vec<f64> = run(&model).iter().zip(&expected).map(|(a, b)| f64::from((a - b).abs())).collect();
        let (max, mean) = (changes.iter().copied().fold(0.0, f64::max), changes.iter().sum::<f64>() / changes.len() as f64);
        assert!(max <= most && mean <= on_average, "{} {target} {precision}: {max} {mean}", config.encoder.name());
        infer::verify::verify(&model, &segmenter::Options::default()).unwrap();
    }
}

#[test]
fn an_8_bit_file_has_8_bit_weights_and_a_16_bit_file_is_half_as_large() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let card = Model::open(&exported(folder.path(), &Options::default())).unwrap().card;
    // Wide enough for weights to outweigh names and nodes.
    let wide = UNetConfig { encoder_width: 16, decoder_channels: [32, 16, 16, 8, 8], ..UNetConfig::default() };
    let size = |precision| formed(&wide, &card, folder.path(), Target::Cpu, precision).bytes.len() as f64;
    let [single, half, byte] = [Precision::F32, Precision::F16, Precision::Int8].map(size);
    assert!((0.45..0.6).contains(&(half / single)), "{half} of {single}");
    assert!((0.2..0.4).contains(&(byte / single)), "{byte} of {single}");
}

/// What a whole export in 8 bits writes into the card is what golden tiles then allow, twice.
#[test]
fn an_8_bit_export_is_measured_and_verifies() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let model = export_as(folder.path(), Precision::Int8);
    let parity = model.card.form.parity.expect("tiles were given");
    assert!(parity.pixels == 8 * 384 * 384 && parity.max_change < 0.3, "{parity:?}");
    infer::verify::verify(&model, &segmenter::Options::default()).unwrap();
}

#[test]
fn losing_more_than_is_allowed_and_8_bits_without_images_are_errors() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.onnx");
    let failed = |options: Options| export::onnx(&checkpoint(folder.path(), &small()), &path, &options, &Silent).unwrap_err();
    let strict = failed(Options { tiles: vec![tile(folder.path())], precision: Precision::Int8, max_flipped: -1.0, ..Options::default() });
    assert!(strict.to_string().contains("change side") && strict.hint_text().is_some(), "{strict:?}");
    let blind = failed(Options { precision: Precision::Int8, ..Options::default() });
    assert!(blind.to_string().contains("8 bits") && blind.hint_text().unwrap().contains("--tiles"), "{blind:?}");
    assert!(!path.exists());
}

/// A device that computes something else is found out by the tiles that the model carries.
#[test]
fn golden_tiles_find_other_weights() {
    use onnx::proto::ModelProto;
    use prost::Message;
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let model = export_as(folder.path(), Precision::F32);
    assert_eq!(model.golden.len(), 2);
    let report = infer::verify::verify(&model, &segmenter::Options::default()).unwrap();
    let (outcome, _) = report.golden.unwrap();
    assert!(outcome.tiles == 2 && outcome.nuclei_found == outcome.nuclei, "{outcome:?}");
    let mut proto = ModelProto::decode(model.bytes.as_slice()).unwrap();
    proto.metadata_props.pop();
    let weights = &mut proto.graph.as_mut().unwrap().initializer;
    let bias = weights.iter_mut().find(|tensor| tensor.name == "encoder.layer2.0.conv1.bias").unwrap();
    bias.raw_data.chunks_mut(4).for_each(|v| v.copy_from_slice(&3.0_f32.to_le_bytes()));
    let other = Model::from_bytes(onnx::seal::seal(proto.encode_to_vec())).unwrap();
    let error = infer::verify::verify(&other, &segmenter::Options::default()).unwrap_err();
    assert!(error.to_string().contains("golden tiles move") && error.hint_text().is_some(), "{error:?}");
}

/// The network of the kept files, as this version writes it.
fn exported_narrow(folder: &Path) -> PathBuf {
    let config = UNetConfig { encoder_width: 2, decoder_channels: [2; 5], ..UNetConfig::default() };
    let path = folder.join("narrow.onnx");
    export::onnx(&checkpoint(folder, &config), &path, &Options::default(), &Silent).unwrap();
    path
}

/// A file of the first format: no form, no golden tiles. It was written by version 0.1.0 and is never written again.
#[test]
fn a_file_of_format_version_1_still_verifies_and_runs() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models/format-1.onnx");
    assert_eq!(artifact::sha256_of_file(&path).unwrap(), "450cf6ba57945563cd3cc63978ad6091eb977bfad5dec37ef9c395858891edef");
    let model = Model::open(&path).unwrap();
    assert_eq!((model.card.format_version, model.golden.len()), (1, 0));
    infer::verify::verify(&model, &segmenter::Options::default()).unwrap();
    let mut segmenter = Segmenter::new(&model, &segmenter::Options::default()).unwrap();
    let image: Vec<u8> = unit_numbers("image").take(64 * 64 * 3).map(|u| ((u + 1.0) * 128.0) as u8).collect();
    let found = segmenter.probabilities(&image, 1, 64, 64).unwrap();
    let now = Model::open(&exported_narrow(folder.path())).unwrap();
    let expected = Segmenter::new(&now, &segmenter::Options::default()).unwrap().probabilities(&image, 1, 64, 64).unwrap();
    assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() <= 1e-5));
}

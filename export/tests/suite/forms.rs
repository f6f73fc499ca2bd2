//! Forms of a model: each computes the probabilities of the plain graph within its tolerance, and the card records the difference.

use std::path::{Path, PathBuf};

use crate::reference::{formula_weights, unit_numbers};
use crate::shipped::{checkpoint, exported, install_runtime, small};
use export::tiles::TileImages;
use export::{Options, form, pass};
use infer::model::Model;
use infer::segmenter::{self, Segmenter};
use models::card::{ModelCard, Precision, Target};
use models::unet::{Encoder, UNetConfig, unet};
use support::console::Silent;
use support::durable;

/// Writes an image with dark discs on smooth background, so that forms differ by rounding only.
fn tile(folder: &Path) -> PathBuf {
    let path = folder.join("tile.png");
    let pixel = |x: u32, y: u32| {
        let inside = (x % 40).abs_diff(20).pow(2) + (y % 40).abs_diff(20).pow(2) < 120;
        image::Rgb(if inside { [90, 50, 120] } else { [220, 190 + (x / 16) as u8, 210] })
    };
    image::RgbImage::from_fn(400, 360, pixel).save(&path).unwrap();
    path
}

/// Runs a whole export with all measurements.
fn export_as(folder: &Path, precision: Precision) -> Model {
    let options = Options { tiles: vec![tile(folder)], precision, max_flipped: 0.05, ..Options::default() };
    let path = folder.join(format!("{precision}.onnx"));
    export::onnx(&checkpoint(folder, &small()), &path, &options, &Silent).unwrap();
    Model::open(&path).unwrap()
}

/// Encodes one form, calibrated on the tile.
fn formed(config: &UNetConfig, card: &ModelCard, folder: &Path, target: Target, precision: Precision) -> Model {
    let run = segmenter::Options::default();
    let graph = unet(config);
    let plain = pass::all((graph.clone(), formula_weights(&graph)), &card.normalisation);
    let sites = TileImages::new(vec![tile(folder)]).sites(4, 256).unwrap();
    let ranges = form::ranges(&plain, precision, &sites, &run).unwrap();
    let ((graph, weights), arithmetic) = form::lower(&plain, target, precision, ranges);
    let mut card = card.clone();
    form::record(&mut card, target, precision, None, 0.0).unwrap();
    let metadata = [(models::card::METADATA_KEY.to_owned(), card.to_json())].into();
    Model::from_bytes(export::writer::write(&graph, &weights, &arithmetic, &metadata).unwrap().bytes).unwrap()
}

/// Encodes the plain graph in f32.
fn plain(config: &UNetConfig, card: &ModelCard) -> Model {
    let graph = unet(config);
    let (graph, weights) = pass::all((graph.clone(), formula_weights(&graph)), &card.normalisation);
    let metadata = [(models::card::METADATA_KEY.to_owned(), card.to_json())].into();
    Model::from_bytes(export::writer::write(&graph, &weights, &export::writer::Arithmetic::F32, &metadata).unwrap().bytes).unwrap()
}

/// f32 forms differ by the order of sums; f16 has 11 significant bits, rounded in some forty layers; int8 has 8.
#[test]
fn every_target_and_precision_gives_the_probabilities_of_the_plain_graph() {
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
fn an_f16_file_has_half_and_an_int8_file_a_quarter_of_the_size() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let card = Model::open(&exported(folder.path(), &Options::default())).unwrap().card;
    // The network is wide enough that weights take most of the file.
    let wide = UNetConfig { encoder_width: 16, decoder_channels: [32, 16, 16, 8, 8], ..UNetConfig::default() };
    let size = |precision| formed(&wide, &card, folder.path(), Target::Cpu, precision).bytes.len() as f64;
    let [single, half, byte] = [Precision::F32, Precision::F16, Precision::Int8].map(size);
    assert!((0.45..0.6).contains(&(half / single)), "{half} of {single}");
    assert!((0.2..0.4).contains(&(byte / single)), "{byte} of {single}");
}

/// The tolerance of an int8 model's golden tiles is twice the difference that export wrote into the card.
#[test]
fn an_int8_export_records_its_parity_and_passes_verification() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let model = export_as(folder.path(), Precision::Int8);
    let parity = model.card.form.parity.expect("tiles were given");
    assert!(parity.pixels == 8 * 384 * 384 && parity.max_change < 0.3, "{parity:?}");
    infer::verify::verify(&model, &segmenter::Options::default()).unwrap();
}

#[test]
fn too_many_flipped_pixels_and_int8_without_images_are_errors() {
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

/// Changed weights stand for a device that computes wrong results.
#[test]
fn golden_tiles_detect_changed_weights() {
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

/// Exports the network of `tests/data/models` with this version.
fn exported_narrow(folder: &Path) -> PathBuf {
    let config = UNetConfig { encoder_width: 2, decoder_channels: [2; 5], ..UNetConfig::default() };
    let path = folder.join("narrow.onnx");
    export::onnx(&checkpoint(folder, &config), &path, &Options::default(), &Silent).unwrap();
    path
}

/// The file was written by version 0.1.0; its format has no form and no golden tiles.
#[test]
fn a_file_of_format_version_1_passes_verification_and_runs() {
    install_runtime();
    let folder = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models/format-1.onnx");
    assert_eq!(durable::sha256_of_file(&path).unwrap(), "450cf6ba57945563cd3cc63978ad6091eb977bfad5dec37ef9c395858891edef");
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

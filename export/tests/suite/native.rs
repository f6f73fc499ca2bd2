//! The kernels of `infer` itself, against ONNX Runtime, on the files that this crate writes.
//!
//! The tolerance is f32's: both sum in f32, in other orders, and logits of these graphs are of the order of ten.

use std::collections::BTreeMap;

use engine::Engine;
use export::pass;
use export::writer::{Arithmetic, integer_values, write};
use infer::choose;
use infer::golden::GoldenTile;
use infer::runtime::Device;
use infer::segmenter::{Model, Network, Options, Segmenter};
use kernels::Isa;
use models::card::{ModelCard, Normalisation};
use models::graph::{Graph, UpConvForm};
use models::unet::{Encoder, UNetConfig, unet};
use models::weights::Weights;
use onnx::proto::{GraphProto, ModelProto};
use proptest::prelude::*;
use prost::Message;

use crate::passes::graph;
use crate::reference::formula_weights;
use crate::shipped::install_runtime;

const CLOSE: f32 = 2e-5;
const NORMALISATION: Normalisation = Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/// A file of a graph that takes images and gives probabilities, with a card of its stride.
fn file(graph: &Graph, weights: &Weights) -> Model {
    let mut card = ModelCard::from_json(include_str!("../../../tests/data/models/card-1.json")).unwrap();
    card.stride = graph.stride();
    let bytes = write(graph, weights, &Arithmetic::F32, &BTreeMap::new()).unwrap().bytes;
    Model { bytes, sha256: String::new(), card, golden: Vec::new() }
}

fn image(batch: usize, height: usize, width: usize) -> Vec<u8> {
    (0..batch * height * width * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

fn options(device: Device, threads: usize) -> Options {
    Options { device, threads, ..Options::default() }
}

fn assert_same(model: &Model, [batch, height, width]: [usize; 3]) {
    let image = image(batch, height, width);
    let run = |device| Segmenter::new(model, &options(device, 2)).unwrap().probabilities(&image, batch, height, width).unwrap();
    let (ours, theirs) = (run(Device::Native), run(Device::Cpu));
    let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= CLOSE, "{batch} x {height} x {width}: probabilities differ by {worst}");
    assert!(theirs.iter().any(|p| (p - theirs[0]).abs() > 1e-4), "the test sees nothing: all probabilities are {}", theirs[0]);
}

/// The network as it ships, in one of its forms.
fn shipped(config: &UNetConfig, form: Option<UpConvForm>) -> Model {
    let graph = unet(config);
    let all = pass::all((graph.clone(), formula_weights(&graph)), &NORMALISATION);
    let (graph, weights) = pass::up_conv(all, |_| form);
    file(&graph, &weights)
}

fn small(width: usize, last: usize, head_kernel: usize) -> UNetConfig {
    let decoder_channels = [8, 4, 3, 2, 1].map(|times| times * last);
    UNetConfig { encoder_width: width, decoder_channels, head_kernel, ..UNetConfig::default() }
}

fn on_mobilenet(width: usize, last: usize) -> UNetConfig {
    UNetConfig { encoder: Encoder::MobileNetV2, ..small(width, last, 1) }
}

#[test]
fn networks_of_several_widths_in_all_forms_are_those_of_onnx_runtime() {
    install_runtime();
    let forms = [None, Some(UpConvForm::Transposed), Some(UpConvForm::Phases)];
    let configs = [small(4, 2, 1), small(16, 16, 3), small(20, 6, 1), small(64, 8, 3), on_mobilenet(8, 6), on_mobilenet(64, 16)];
    for (i, config) in configs.iter().enumerate() {
        let model = shipped(config, forms[i % 3]);
        assert_same(&model, [1, 96, 160]);
        assert_same(&model, [1 + i % 3, 32, 224]);
    }
}

/// How a step of `passes::graph` changes the size of its map: doublings, less halvings.
fn doublings(step: u8) -> i32 {
    match step % 13 {
        1 | 3 | 12 => -1,
        4 | 8 | 9 => 1,
        _ => 0,
    }
}

/// Steps of `passes::graph` without those that make a map more than four times as high as the image (own kernels refuse more than
/// sixteen), and more of them until the map is as large as the image.
fn at_full_size(steps: &[u8]) -> Vec<u8> {
    let (mut kept, mut size) = (Vec::new(), 0);
    for &step in steps {
        if size + doublings(step) <= 2 {
            size += doublings(step);
            kept.push(step);
        }
    }
    kept.extend(std::iter::repeat_n(if size > 0 { 3 } else { 8 }, size.unsigned_abs() as usize));
    kept
}

#[test]
fn random_graphs_are_those_of_onnx_runtime() {
    install_runtime();
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(0u8..90, 0..7), folded: bool, merged in 0..3_usize, batch in 1..4_usize, rows in 1..4_usize, columns in 1..6_usize)| {
        let graph = graph(&at_full_size(&steps));
        let weights = formula_weights(&graph);
        let (graph, weights) = if folded {
            pass::all((graph, weights), &NORMALISATION)
        } else {
            pass::image_input(pass::probability(pass::only_output((graph, weights))), &NORMALISATION)
        };
        let form = [None, Some(UpConvForm::Transposed), Some(UpConvForm::Phases)][merged];
        let (graph, weights) = pass::up_conv((graph, weights), |_| form);
        let stride = graph.stride();
        let model = file(&graph, &weights);
        let (height, width) = (rows * stride, columns * stride);
        let image = image(batch, height, width);
        let run = |device| Segmenter::new(&model, &options(device, 1)).unwrap().probabilities(&image, batch, height, width).unwrap();
        let (ours, theirs) = (run(Device::Native), run(Device::Cpu));
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        prop_assert!(worst <= CLOSE, "probabilities differ by {}", worst);
    });
}

#[test]
fn threads_batches_and_instruction_sets_agree() {
    agree_on(&shipped(&small(16, 16, 1), None));
    agree_on(&shipped(&on_mobilenet(24, 16), None));
}

fn agree_on(model: &Model) {
    let (height, width) = (96, 128);
    let two = image(2, height, width);
    let run = |isa, threads, images: &[u8], batch| {
        let program = std::sync::Arc::new(model.program_for(isa).unwrap());
        Engine::new(program, threads).unwrap().probabilities(images, [batch, height, width])
    };
    let whole = run(Isa::best(), 1, &two, 2);
    assert_eq!(whole, run(Isa::best(), 3, &two, 2), "threads");
    let single = run(Isa::best(), 2, &two[two.len() / 2..], 1);
    assert_eq!(whole[whole.len() / 2..], single, "batch");
    for isa in Isa::available() {
        let worst = run(isa, 2, &two, 2).iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= CLOSE, "{isa:?}: {worst}");
    }
}

/// A pixel of a window that sees all it can depend on has the probability that it has in the whole image, up to the rounding of f32.
#[test]
fn windows_give_the_probabilities_of_the_whole() {
    let graph = models::graph::Builder::new();
    let x = graph.input(3).conv_bias("a", 6, 7, 2).relu().max_pool().conv_bias("b", 20, 3, 1).relu();
    let graph = graph.finish(x.upsample().upsample().conv_bias("c", 1, 3, 1), &[]);
    let weights = formula_weights(&graph);
    let (graph, weights) = pass::all((graph, weights), &NORMALISATION);
    let (stride, reach) = (graph.stride(), graph.reach());
    let mut network = Segmenter::new(&file(&graph, &weights), &options(Device::Native, 2)).unwrap();
    let (height, width) = (24 * stride, 32 * stride);
    let whole = image(1, height, width);
    let expected = network.probabilities(&whole, 1, height, width).unwrap();
    for (top, left) in [(4 * stride, 8 * stride), (3 * stride, 5 * stride)] {
        let rows: Vec<u8> = (top..height).flat_map(|y| whole[(y * width + left) * 3..(y + 1) * width * 3].to_vec()).collect();
        let found = network.probabilities(&rows, 1, height - top, width - left).unwrap();
        for (y, x) in (top + reach..height).flat_map(|y| (left + reach..width).map(move |x| (y, x))) {
            let (a, b) = (expected[y * width + x], found[(y - top) * (width - left) + x - left]);
            assert!((a - b).abs() < 1e-6, "row {y}, column {x}: {a} and {b}");
        }
    }
}

/// Columns are taken some at a time, and what nobody reads any more is forgotten: the image is what it is at once.
#[test]
fn a_long_image_taken_some_columns_at_a_time_is_that_of_onnx_runtime() {
    install_runtime();
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(0u8..90, 0..9), merged in 0..3_usize, rows in 1..3_usize, columns in 1..30_usize, at_once in 1..90_usize)| {
        let graph = graph(&at_full_size(&steps));
        let (graph, weights) = pass::all((graph.clone(), formula_weights(&graph)), &NORMALISATION);
        let form = [None, Some(UpConvForm::Transposed), Some(UpConvForm::Phases)][merged];
        let (graph, weights) = pass::up_conv((graph, weights), |_| form);
        let (model, stride) = (file(&graph, &weights), graph.stride());
        let shape = [1, rows * stride, columns * stride];
        let image = image(1, shape[1], shape[2]);
        let theirs = Segmenter::new(&model, &options(Device::Cpu, 1)).unwrap().probabilities(&image, 1, shape[1], shape[2]).unwrap();
        let program = std::sync::Arc::new(model.program().unwrap());
        let ours = Engine::new(program, 2).unwrap().with_block_columns(at_once).probabilities(&image, shape);
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        prop_assert!(worst <= CLOSE, "probabilities differ by {}", worst);
    });
}

#[test]
fn networks_taken_some_columns_at_a_time_are_what_they_are_at_once() {
    for config in [small(16, 16, 1), small(20, 6, 3), on_mobilenet(24, 16)] {
        let program = std::sync::Arc::new(shipped(&config, None).program().unwrap());
        let shape = [2, 96, 1376];
        let image = image(2, 96, 1376);
        let run = |at_once| Engine::new(program.clone(), 2).unwrap().with_block_columns(at_once).probabilities(&image, shape);
        let whole = run(1376);
        for at_once in [32, 50, 128, 256, 1000] {
            let worst = run(at_once).iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-6, "{at_once} columns at once: {worst}");
        }
    }
}

#[test]
fn what_has_no_kernel_is_refused_by_name_and_reason() {
    let graph = unet(&small(4, 2, 1));
    let (graph, weights) = pass::all((graph.clone(), formula_weights(&graph)), &NORMALISATION);
    let mut model = file(&graph, &weights);
    let range = graph.nodes.iter().map(|node| (node.name.clone(), [-1.0, 1.0])).collect();
    for (arithmetic, reason) in [(Arithmetic::F16, "f32"), (Arithmetic::Int8(range), "8-bit arithmetic")] {
        model.bytes = write(&graph, &weights, &arithmetic, &BTreeMap::new()).unwrap().bytes;
        let Err(error) = Segmenter::new(&model, &options(Device::Native, 1)) else { panic!("{arithmetic:?} was taken") };
        assert!(error.to_string().contains("native kernels") && error.to_string().contains(reason), "{error}");
        assert!(error.hint_text().unwrap().contains("--device cpu"));
    }
}

/// Grouped convolutions and limits that models of this project do not have.
#[test]
fn other_groups_and_other_limits_are_refused() {
    let graph = unet(&on_mobilenet(8, 2));
    let (graph, weights) = pass::all((graph.clone(), formula_weights(&graph)), &NORMALISATION);
    let model = file(&graph, &weights);
    let refused = |what: &str, change: &dyn Fn(&mut GraphProto)| {
        let mut proto = ModelProto::decode(model.bytes.as_slice()).unwrap();
        change(proto.graph.as_mut().unwrap());
        let changed = Model { bytes: proto.encode_to_vec(), ..model.clone() };
        match changed.program() {
            Ok(_) => panic!("{what} was taken"),
            Err(error) => error.to_string(),
        }
    };
    model.program().unwrap();
    let group = |graph: &mut GraphProto, groups: Option<i64>| {
        let attributes = graph.node.iter_mut().map(|node| &mut node.attribute);
        let list = attributes.into_iter().find(|list| list.iter().any(|a| a.name == "group")).unwrap();
        list.retain(|a| a.name != "group" || groups.is_some());
        list.iter_mut().filter(|a| a.name == "group").for_each(|a| a.i = groups);
    };
    for groups in [Some(2), Some(0), Some(-1), Some(7), None] {
        let error = refused("another number of groups", &|graph| group(graph, groups));
        assert!(error.contains("groups"), "{error}");
    }
    for (end, value) in [("clip.low", -1.0_f32), ("clip.high", 5.0), ("clip.high", f32::NAN)] {
        let error = refused("another limit", &|graph| {
            let constant = graph.initializer.iter_mut().find(|tensor| tensor.name == end).unwrap();
            constant.raw_data = value.to_le_bytes().to_vec();
        });
        assert!(error.contains("0 and 6"), "{error}");
    }
    let error = refused("no upper limit", &|graph| {
        graph.node.iter_mut().find(|node| node.op_type == "Clip").unwrap().input.truncate(2);
    });
    assert!(error.contains("Clip"), "{error}");
}

/// `auto` takes own kernels where the golden tiles prove them, and ONNX Runtime for what they do not run.
#[test]
fn auto_takes_own_kernels_where_they_run_the_model() {
    install_runtime();
    if infer::runtime::has_nvidia() || infer::runtime::has_amx() {
        eprintln!("skipped: this machine may have something faster");
        return;
    }
    let graph = unet(&small(4, 2, 1));
    let (graph, weights) = pass::all((graph.clone(), formula_weights(&graph)), &NORMALISATION);
    let range = integer_values(&graph).into_iter().map(|id| (graph.node(id).name.clone(), [-1.0, 1.0])).collect();
    for (arithmetic, device) in [(Arithmetic::F32, Device::Native), (Arithmetic::Int8(range), Device::Cpu)] {
        let mut model = file(&graph, &weights);
        model.bytes = write(&graph, &weights, &arithmetic, &BTreeMap::new()).unwrap().bytes;
        let image = image(1, 64, 64);
        let map = Segmenter::new(&model, &options(Device::Cpu, 1)).unwrap().quantised(&image, 1, 64, 64).unwrap();
        let chosen = |model: &Model| choose::open(model, &options(Device::Auto, 1), None).unwrap().options.device;
        assert_eq!(chosen(&model), Device::Cpu, "without golden tiles");
        model.golden = vec![GoldenTile::new(&image, &map, [64, 64], &model.card.decoding).unwrap()];
        assert_eq!(chosen(&model), device);
        let wrong: Vec<u8> = map.iter().map(|v| v.wrapping_add(90)).collect();
        model.golden = vec![GoldenTile::new(&image, &wrong, [64, 64], &model.card.decoding).unwrap()];
        assert!(choose::open(&model, &options(Device::Native, 1), None).is_err());
    }
}

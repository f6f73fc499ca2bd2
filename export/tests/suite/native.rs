//! The project's own kernels against ONNX Runtime, on files that this crate writes.
//!
//! The tolerance is that of f32: both sum in f32 but in different orders, and the logits of these graphs are of the order of ten.

use std::collections::BTreeMap;

use engine::Engine;
use export::pass;
use export::writer::{Arithmetic, write};
use infer::model::Model;
use infer::runtime::Device;
use infer::segmenter::{Options, Segmenter};
use kernels::Isa;
use models::card::{ModelCard, Normalisation};
use models::graph::{Graph, UpConvForm};
use models::unet::{Encoder, UNetConfig, unet};
use models::weights::Weights;
use proptest::prelude::*;

use crate::passes::graph;
use crate::reference::formula_weights;
use crate::shipped::install_runtime;

const CLOSE: f32 = 2e-5;
pub const NORMALISATION: Normalisation = Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/// Encodes a graph from images to probabilities, with a card of the same stride.
pub fn file(graph: &Graph, weights: &Weights) -> Model {
    let mut card = ModelCard::from_json(include_str!("../../../tests/data/models/card-1.json")).unwrap();
    card.stride = graph.stride();
    let bytes = write(graph, weights, &Arithmetic::F32, &BTreeMap::new()).unwrap().bytes;
    Model { bytes, sha256: String::new(), card, golden: Vec::new() }
}

pub fn image(batch: usize, height: usize, width: usize) -> Vec<u8> {
    (0..batch * height * width * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

pub fn options(device: Device, threads: usize) -> Options {
    Options { device, threads, ..Options::default() }
}

fn assert_same(model: &Model, [batch, height, width]: [usize; 3]) {
    let image = image(batch, height, width);
    let run = |device| Segmenter::new(model, &options(device, 2)).unwrap().probabilities(&image, batch, height, width).unwrap();
    let (ours, theirs) = (run(Device::Native), run(Device::Cpu));
    let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= CLOSE, "{batch} x {height} x {width}: probabilities differ by {worst}");
    assert!(theirs.iter().any(|p| (p - theirs[0]).abs() > 1e-4), "the test is void: all probabilities are {}", theirs[0]);
}

/// Encodes a U-Net in one of its forms.
fn shipped(config: &UNetConfig, form: Option<UpConvForm>) -> Model {
    let graph = unet(config);
    let all = pass::all((graph.clone(), formula_weights(&graph)), &NORMALISATION);
    let (graph, weights) = pass::up_conv(all, |_| form);
    file(&graph, &weights)
}

pub fn small(width: usize, last: usize, head_kernel: usize) -> UNetConfig {
    let decoder_channels = [8, 4, 3, 2, 1].map(|times| times * last);
    UNetConfig { encoder_width: width, decoder_channels, head_kernel, ..UNetConfig::default() }
}

pub fn on_mobilenet(width: usize, last: usize) -> UNetConfig {
    UNetConfig { encoder: Encoder::MobileNetV2, ..small(width, last, 1) }
}

#[test]
fn networks_of_several_widths_in_all_forms_agree_with_onnx_runtime() {
    install_runtime();
    let forms = [None, Some(UpConvForm::Transposed), Some(UpConvForm::Phases)];
    let configs = [small(4, 2, 1), small(16, 16, 3), small(20, 6, 1), small(64, 8, 3), on_mobilenet(8, 6), on_mobilenet(64, 16)];
    for (i, config) in configs.iter().enumerate() {
        let model = shipped(config, forms[i % 3]);
        assert_same(&model, [1, 96, 160]);
        assert_same(&model, [1 + i % 3, 32, 224]);
    }
}

/// Change of resolution in a step of `passes::graph`: doublings minus halvings.
fn doublings(step: u8) -> i32 {
    match step % 13 {
        1 | 3 | 12 => -1,
        4 | 8 | 9 => 1,
        _ => 0,
    }
}

/// Drops steps of `passes::graph` that would make a feature map more than four times as high as the image (the native kernels refuse more
/// than sixteen times), and appends steps until the output has the size of the image.
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
fn random_graphs_agree_with_onnx_runtime() {
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
fn results_do_not_depend_on_threads_batch_size_or_instruction_set() {
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

/// A pixel of a window that contains its receptive field has its probability in the whole image, up to the rounding of f32.
#[test]
fn windows_give_the_probabilities_of_the_whole_image() {
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

/// The engine computes a long image in blocks of columns and frees columns that no later block reads.
#[test]
fn random_graphs_in_blocks_of_columns_agree_with_onnx_runtime() {
    install_runtime();
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(0u8..90, 0..9), merged in 0..3_usize, rows in 1..3_usize, columns in 1..30_usize, block_columns in 1..90_usize)| {
        let graph = graph(&at_full_size(&steps));
        let (graph, weights) = pass::all((graph.clone(), formula_weights(&graph)), &NORMALISATION);
        let form = [None, Some(UpConvForm::Transposed), Some(UpConvForm::Phases)][merged];
        let (graph, weights) = pass::up_conv((graph, weights), |_| form);
        let (model, stride) = (file(&graph, &weights), graph.stride());
        let shape = [1, rows * stride, columns * stride];
        let image = image(1, shape[1], shape[2]);
        let theirs = Segmenter::new(&model, &options(Device::Cpu, 1)).unwrap().probabilities(&image, 1, shape[1], shape[2]).unwrap();
        let program = std::sync::Arc::new(model.program().unwrap());
        let ours = Engine::new(program, 2).unwrap().with_block_columns(block_columns).probabilities(&image, shape);
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        prop_assert!(worst <= CLOSE, "probabilities differ by {}", worst);
    });
}

#[test]
fn networks_in_blocks_of_columns_agree_with_a_single_block() {
    for config in [small(16, 16, 1), small(20, 6, 3), on_mobilenet(24, 16)] {
        let program = std::sync::Arc::new(shipped(&config, None).program().unwrap());
        let shape = [2, 96, 1376];
        let image = image(2, 96, 1376);
        let run = |block_columns| Engine::new(program.clone(), 2).unwrap().with_block_columns(block_columns).probabilities(&image, shape);
        let whole = run(1376);
        for block_columns in [32, 50, 128, 256, 1000] {
            let worst = run(block_columns).iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-6, "blocks of {block_columns} columns: {worst}");
        }
    }
}

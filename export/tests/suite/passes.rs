//! Graph passes keep the output: random graphs, weights and images are compared before and after a pass in the f64 reference interpreter.
//!
//! The tolerance is that of f32, because a pass rounds each weight once.

use crate::reference::{FeatureMap, evaluate, formula_weights, unit_numbers};
use export::pass;
use export::writer::Arithmetic;
use models::card::Normalisation;
use models::graph::{Builder, Graph, Op, UpConvForm, Wire};
use models::unet::{UNetConfig, unet};
use models::weights::{Array, Weights};
use proptest::prelude::*;

/// Builds a graph from random layers on three channels that ends in two logits, with feature taps and nodes that the output does not need.
pub fn graph(steps: &[u8]) -> Graph {
    let builder = Builder::new();
    let input = builder.input(3);
    let mut x = input;
    let mut taps = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let name = format!("layer{i}");
        x = layer(x, *step, &name);
        if step % 5 == 0 {
            taps.push(("tap", x.conv(format!("dead{i}"), 2, 1, 1)));
        }
    }
    let head = if steps.len().is_multiple_of(2) { x.conv("head", 2, 1, 1) } else { x.conv_bias("head", 2, 3, 1) };
    builder.finish(head, &taps)
}

fn layer<'b>(x: Wire<'b>, kind: u8, name: &str) -> Wire<'b> {
    match kind % 13 {
        0 => x.conv(name, 4, 3, 1).norm(format!("{name}.norm")).relu(),
        1 => x.conv_bias(name, 3, 5, 2).norm(format!("{name}.norm")),
        2 => x.norm(name), // its input may be no convolution
        3 => x.max_pool(),
        4 => x.upsample(),
        5 => x.plus(x.conv(name, x.channels(), 3, 1).norm(format!("{name}.norm"))),
        6 => x.concat(x.conv(name, 2, 1, 1)),
        7 => {
            let shared = x.conv(name, 3, 3, 1); // has two readers, so it cannot be folded
            shared.norm(format!("{name}.norm")).plus(shared)
        }
        8 => x.upsample().conv_bias(name, 3, 3, 1),
        9 => {
            let skip = x.conv(format!("{name}.other"), 2, 1, 1).upsample();
            x.upsample().concat(skip).conv(name, 4, 3, 1).norm(format!("{name}.norm")).relu()
        }
        10 => x.relu(),
        11 => x
            .conv(name, 16, 1, 1)
            .norm(format!("{name}.norm"))
            .relu6()
            .depthwise(format!("{name}.depthwise"), 1)
            .norm(format!("{name}.norm2")),
        _ => x.depthwise(name, 2).norm(format!("{name}.norm")).relu6(),
    }
}

fn image(graph: &Graph, scale: f64) -> FeatureMap {
    let side = 2 * graph.stride();
    FeatureMap::new(3, side, side, unit_numbers("image").take(3 * side * side).map(|u| ((u + 1.0) * scale).floor()).collect())
}

/// Normalises an image for a feature input: `(v / 255 - mean) / std`.
fn normalised(image: &FeatureMap, normalisation: &Normalisation) -> FeatureMap {
    let plane = image.shape.height * image.shape.width;
    let of = |(i, v): (usize, &f64)| {
        let c = i / plane;
        (v / 255.0 - f64::from(normalisation.mean[c])) / f64::from(normalisation.std[c])
    };
    FeatureMap { shape: image.shape, data: image.data.iter().enumerate().map(of).collect() }
}

fn assert_close(a: &FeatureMap, b: &FeatureMap) {
    assert_eq!(a.shape, b.shape);
    let largest = a.data.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    let worst = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= 2e-5 * largest, "values up to {largest} differ by {worst}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nodes_without_effect_on_the_output_are_removed(steps in prop::collection::vec(0u8..90, 0..6)) {
        let graph = graph(&steps);
        let mut weights = formula_weights(&graph);
        weights.insert("projection.r1.0.weight".into(), Array::new([1], vec![1.0]));
        let input = image(&graph, 1.0);
        let (kept, fewer) = pass::only_output((graph.clone(), weights.clone()));
        prop_assert_eq!(evaluate(&graph, &weights, &input), evaluate(&kept, &fewer, &input));
        let named = |weights: &Weights| weights.keys().any(|name| name.starts_with("dead") || name.starts_with("projection"));
        prop_assert!(!named(&fewer) && kept.feature_taps.is_empty());
    }

    #[test]
    fn batch_normalisation_folds_into_the_convolution_before_it(steps in prop::collection::vec(0u8..90, 0..6)) {
        let graph = graph(&steps);
        let weights = formula_weights(&graph);
        let input = image(&graph, 1.0);
        let (folded, fewer) = pass::fold_batch_norm((graph.clone(), weights.clone()));
        assert_close(&evaluate(&graph, &weights, &input), &evaluate(&folded, &fewer, &input));
        let names: Vec<String> = folded.parameters().into_iter().map(|p| p.name).collect();
        prop_assert_eq!(names.len(), fewer.len());
    }

    #[test]
    fn one_logit_gives_the_probability_of_two(steps in prop::collection::vec(0u8..90, 0..6)) {
        let (graph, weights) = pass::only_output((graph(&steps), formula_weights(&graph(&steps))));
        let input = image(&graph, 1.0);
        let one = pass::head_difference((graph.clone(), weights.clone()));
        prop_assert!(matches!(&one.0.node(one.0.output).op, Op::Conv(conv) if conv.outputs == 1));
        let probability = |model| { let (graph, weights) = pass::probability(model); evaluate(&graph, &weights, &input) };
        let (two, one) = (probability((graph, weights)), probability(one));
        let off = two.data.iter().zip(&one.data).filter(|(a, b)| a != b).count();
        prop_assert!(off * 100 <= two.data.len(), "{} of {} levels differ", off, two.data.len());
    }

    #[test]
    fn fused_upsampling_and_convolution_keep_output_stride_and_reach(steps in prop::collection::vec(0u8..90, 0..5), phases: bool, folded: bool) {
        let steps: Vec<u8> = steps.into_iter().chain([9]).collect();
        let graph = graph(&steps).only_output();
        let weights = formula_weights(&graph);
        let input = image(&graph, 1.0);
        let model = if folded { pass::fold_batch_norm((graph.clone(), weights.clone())) } else { (graph.clone(), weights.clone()) };
        let form = if phases { UpConvForm::Phases } else { UpConvForm::Transposed };
        let (merged, fewer) = pass::up_conv(model, |_| Some(form));
        prop_assert!(merged.nodes.iter().any(|node| matches!(node.op, Op::UpConv(_))));
        prop_assert_eq!((merged.stride(), merged.reach()), (graph.stride(), graph.reach()));
        assert_close(&evaluate(&graph, &weights, &input), &evaluate(&merged, &fewer, &input));
    }

    #[test]
    fn an_image_input_equals_an_input_of_normalised_features(steps in prop::collection::vec(0u8..90, 0..6)) {
        let graph = graph(&steps);
        let weights = formula_weights(&graph);
        let normalisation = Normalisation { mean: [0.485, 0.4, 0.3], std: [0.229, 0.3, 0.2] };
        let bytes = image(&graph, 128.0);
        let (with_image, scaled) = pass::image_input((graph.clone(), weights.clone()), &normalisation);
        assert_close(&evaluate(&graph, &weights, &normalised(&bytes, &normalisation)), &evaluate(&with_image, &scaled, &bytes));
    }
}

/// Passes run before encoding or not.
#[test]
fn onnx_runtime_computes_the_reference_result_for_random_graphs() {
    infer::runtime::install(None, None).expect("ONNX Runtime is needed for this test; Python with pip fetches it");
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(0u8..90, 0..6), folded: bool, merged in 0..3_usize)| {
        let graph = graph(&steps);
        let weights = formula_weights(&graph);
        let input = image(&graph, 1.0);
        let (graph, weights) = pass::probability(pass::only_output((graph, weights)));
        let expected = evaluate(&Graph { output: graph.node(graph.output).inputs[0], ..graph.clone() }, &weights, &input);
        let (graph, weights) = if folded { pass::fold_batch_norm((graph, weights)) } else { (graph, weights) };
        let form = [None, Some(UpConvForm::Transposed), Some(UpConvForm::Phases)][merged];
        let (graph, weights) = pass::up_conv((graph, weights), |_| form);
        let written = export::writer::write(&graph, &weights, &Arithmetic::F32, &std::collections::BTreeMap::new()).unwrap();
        let mut session = infer::segmenter::session(&written.bytes, &infer::segmenter::Options::default()).unwrap();
        let features: Vec<f32> = input.data.iter().map(|&v| v as f32).collect();
        let shape = [1, 3, input.shape.height, input.shape.width];
        let tensor = ort::value::TensorRef::from_array_view((shape, features.as_slice())).unwrap();
        let outputs = session.run(ort::inputs![tensor]).unwrap();
        let found = outputs["probability"].try_extract_tensor::<f32>().unwrap().1;
        let found = FeatureMap { shape: expected.shape, data: found.iter().map(|&p| f64::from(p)).collect() };
        assert_close(&expected, &found);
    });
}

#[test]
fn all_passes_together_fold_every_normalisation_of_a_unet() {
    let config = UNetConfig { encoder_width: 4, decoder_channels: [8, 6, 4, 4, 2], ..UNetConfig::default() };
    let graph = unet(&config);
    let weights = formula_weights(&graph);
    let bytes = image(&graph, 128.0);
    let (shipped, fewer) = pass::all((graph.clone(), weights.clone()), &Normalisation::IMAGENET);
    assert!(shipped.nodes.iter().all(|node| !matches!(node.op, Op::BatchNorm { .. })));
    let (plain, plain_weights) = pass::probability((graph.only_output(), weights));
    let expected = evaluate(&plain, &plain_weights, &normalised(&bytes, &Normalisation::IMAGENET));
    let found = evaluate(&shipped, &fewer, &bytes);
    assert!(expected.data.iter().zip(&found.data).all(|(a, b)| (a - b).abs() <= 1.0));
}

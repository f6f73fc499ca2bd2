//! Models without native kernels: refusal by the native device, fallback of the automatic choice.

use std::collections::BTreeMap;

use export::pass;
use export::writer::{Arithmetic, integer_values, write};
use infer::choose;
use infer::model::Model;
use infer::network::Network;
use infer::runtime::Device;
use infer::segmenter::Segmenter;
use models::unet::unet;
use onnx::golden::GoldenTile;
use onnx::proto::{GraphProto, ModelProto};
use prost::Message;

use crate::native::{NORMALISATION, file, image, on_mobilenet, options, small};
use crate::reference::formula_weights;
use crate::shipped::install_runtime;

#[test]
fn a_model_without_kernels_is_refused_with_the_reason() {
    let graph = unet(&small(4, 2, 1));
    let (graph, weights) = pass::all((graph.clone(), formula_weights(&graph)), &NORMALISATION);
    let mut model = file(&graph, &weights);
    let range = graph.nodes.iter().map(|node| (node.name.clone(), [-1.0, 1.0])).collect();
    for (arithmetic, reason) in [(Arithmetic::F16, "f32"), (Arithmetic::Int8(range), "8-bit arithmetic")] {
        model.bytes = write(&graph, &weights, &arithmetic, &BTreeMap::new()).unwrap().bytes;
        let Err(error) = Segmenter::new(&model, &options(Device::Native, 1)) else { panic!("{arithmetic:?} was accepted") };
        assert!(error.to_string().contains("native kernels") && error.to_string().contains(reason), "{error}");
        assert!(error.hint_text().unwrap().contains("--device cpu"));
    }
}

/// Models of this project have one group or one group per channel, and the activation limits 0 and 6.
#[test]
fn other_groups_and_other_activation_limits_are_refused() {
    let graph = unet(&on_mobilenet(8, 2));
    let (graph, weights) = pass::all((graph.clone(), formula_weights(&graph)), &NORMALISATION);
    let model = file(&graph, &weights);
    let refused = |change_name: &str, change: &dyn Fn(&mut GraphProto)| {
        let mut proto = ModelProto::decode(model.bytes.as_slice()).unwrap();
        change(proto.graph.as_mut().unwrap());
        let changed = Model { bytes: proto.encode_to_vec(), ..model.clone() };
        match changed.program() {
            Ok(_) => panic!("{change_name} was accepted"),
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

/// `auto` chooses the native kernels if the golden tiles verify them, and ONNX Runtime for models without native kernels.
#[test]
fn auto_chooses_native_kernels_for_models_that_they_can_run() {
    install_runtime();
    if infer::runtime::has_nvidia() || infer::runtime::has_amx() {
        eprintln!("NOT RUN: this machine may have a faster device");
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

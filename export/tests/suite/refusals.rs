//! Model files that are refused: damaged, foreign, or with contents that models of this project do not have.

use export::Options;
use export::writer::Arithmetic;
use infer::model::Model;
use models::unet::unet;
use support::durable;

use crate::reference::formula_weights;
use crate::shipped::{exported, small};

#[test]
fn damaged_and_foreign_files_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = exported(folder.path(), &Options::default());
    let good = durable::read(&path, 1 << 30).unwrap();
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = Model::open(&path).unwrap_err();
        assert!(error.to_string().contains("nuclei.onnx") && error.hint_text().is_some(), "{error:?}");
        error.to_string()
    };
    for end in (0..good.len()).step_by(997) {
        refused(&good[..end]);
    }
    for i in (0..good.len()).step_by(499) {
        let mut changed = good.clone();
        changed[i] ^= 1 << (i % 8);
        let error = refused(&changed);
        assert!(error.contains("damaged") || i > good.len() - 100, "byte {i}: {error}");
    }
    let (graph, weights) = (unet(&small()).only_output(), formula_weights(&unet(&small())));
    let card = [("model_card".to_owned(), r#"{"format_version": 9}"#.to_owned())].into();
    let foreign = export::writer::write(&graph, &weights, &Arithmetic::F32, &card).unwrap().bytes;
    assert!(refused(&foreign).contains("version 9"));
}

#[test]
fn weights_in_other_files_and_unknown_operators_are_refused() {
    use onnx::proto::ModelProto;
    use onnx::seal::seal;
    use prost::Message;
    let folder = tempfile::tempdir().unwrap();
    let good = durable::read(&exported(folder.path(), &Options::default()), 1 << 30).unwrap();
    let refused = |edit: &dyn Fn(&mut ModelProto)| {
        let mut model = ModelProto::decode(good.as_slice()).unwrap();
        model.metadata_props.pop();
        edit(&mut model);
        Model::from_bytes(seal(model.encode_to_vec())).unwrap_err().to_string()
    };
    let elsewhere = refused(&|model| model.graph.as_mut().unwrap().initializer[3].data_location = 1);
    assert!(elsewhere.contains("another file"), "{elsewhere}");
    let operator = refused(&|model| model.graph.as_mut().unwrap().node[5].op_type = "If".into());
    assert!(operator.contains("\"If\""), "{operator}");
    let domain = refused(&|model| model.graph.as_mut().unwrap().node[5].domain = "com.example".into());
    assert!(domain.contains("com.example"), "{domain}");
    let function = refused(&|model| model.functions.push(Vec::new()));
    assert!(function.contains("functions"), "{function}");
    let cards = refused(&|model| model.metadata_props.push(model.metadata_props[0].clone()));
    assert!(cards.contains("card"), "{cards}");
}

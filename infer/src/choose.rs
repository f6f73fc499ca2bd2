//! `--device auto`: the fastest device that is here and computes what the model was made for.
//!
//! Speed without proof is worth nothing, so devices other than ONNX Runtime on the CPU are taken only where the model carries golden tiles
//! and they come out right. Where ONNX Runtime is not installed, kernels of our own run what they can.

use support::Result;

use crate::golden::{Outcome, Tolerance};
use crate::runtime::{self, Device, Library, Precision};
use crate::segmenter::{Model, Options, Segmenter};
use crate::verify::on_golden_tiles;

/// A session that has shown what it can.
pub struct Chosen {
    /// The session.
    pub segmenter: Segmenter,
    /// With these options more of its kind are made; never [`Device::Auto`].
    pub options: Options,
    /// How the golden tiles came out; `None` where the model carries none.
    pub golden: Option<(Outcome, Tolerance)>,
}

/// Makes a session on the device that is asked for, or on the best for [`Device::Auto`], and runs the model's golden tiles on it.
///
/// # Errors
/// A device that is asked for and is not there, or that computes something else; for `auto`, no device that works.
pub fn open(model: &Model, options: &Options, precision: Option<Precision>) -> Result<Chosen> {
    if options.device != Device::Auto {
        return proven(model, Options { precision: precision.unwrap_or_default(), ..options.clone() });
    }
    let has_runtime = runtime::locate(Library::OnnxRuntime, options.runtime.as_deref()).is_ok();
    let here = Here {
        nvidia: has_runtime && runtime::has_nvidia(),
        amx: runtime::has_amx(),
        openvino: runtime::locate(Library::OpenVino, None).is_ok(),
    };
    for (device, fastest) in faster_than_cpu(model, here) {
        let precision = precision.filter(|_| device != Device::Native).unwrap_or(fastest);
        match proven(model, Options { device, precision, ..options.clone() }) {
            Ok(chosen) => return Ok(chosen),
            Err(error) => tracing::info!("auto: {device} is not used: {error}"),
        }
    }
    if precision == Some(Precision::Bf16) {
        tracing::warn!("auto: kernels of CPUs without AMX compute in f32");
    }
    let last = |device| proven(model, Options { device, precision: Precision::F32, ..options.clone() });
    if has_runtime || options.runtime.is_some() {
        return last(Device::Cpu);
    }
    // Nothing is left to choose from: what has not been proven runs too.
    last(Device::Native).or_else(|why| {
        tracing::info!("auto: native is not used: {why}");
        last(Device::Cpu)
    })
}

/// What a machine has.
#[derive(Clone, Copy)]
struct Here {
    nvidia: bool,
    amx: bool,
    openvino: bool,
}

/// What is tried before ONNX Runtime on the CPU, fastest first, with the arithmetic it is fastest in.
///
/// `OpenVINO` gains by bf16 on AMX alone.
fn faster_than_cpu(model: &Model, here: Here) -> Vec<(Device, Precision)> {
    let gpus = [(Device::TensorRt, Precision::F32), (Device::Cuda, Precision::F32)];
    let openvino = (here.amx && here.openvino).then_some((Device::OpenVino, Precision::Bf16));
    let can_be_proven = !model.golden.is_empty();
    let all = gpus.into_iter().filter(|_| here.nvidia).chain(openvino).chain([(Device::Native, Precision::F32)]);
    all.filter(|_| can_be_proven).collect()
}

/// Makes a session with these options, which name a device, if the model's golden tiles come out right on it.
pub(crate) fn proven(model: &Model, options: Options) -> Result<Chosen> {
    let mut segmenter = Segmenter::new(model, &options)?;
    let golden = on_golden_tiles(model, &mut segmenter, options.precision)?;
    Ok(Chosen { segmenter, options, golden })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::GoldenTile;
    use models::decode::Decoding;

    fn model(tiles: usize) -> Model {
        let tile = GoldenTile::new(&[0; 32 * 32 * 3], &[0; 32 * 32], [32, 32], &Decoding::default()).unwrap();
        let card = include_str!("../../tests/data/models/card-1.json");
        Model {
            bytes: Vec::new(),
            sha256: String::new(),
            card: models::card::ModelCard::from_json(card).unwrap(),
            golden: vec![tile; tiles],
        }
    }

    #[test]
    fn nothing_is_tried_that_cannot_be_proven_or_does_not_gain() {
        let tried = |tiles, amx, openvino| faster_than_cpu(&model(tiles), Here { nvidia: false, amx, openvino });
        let openvino = |tiles, amx, there| tried(tiles, amx, there).contains(&(Device::OpenVino, Precision::Bf16));
        assert!(openvino(1, true, true));
        assert!(!openvino(0, true, true) && !openvino(1, false, true) && !openvino(1, true, false));
        assert_eq!(tried(1, false, true), [(Device::Native, Precision::F32)]);
        assert!(tried(0, false, true).is_empty());
    }
}

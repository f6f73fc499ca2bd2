//! `--device auto`: the fastest device that is present and reproduces the model's golden tiles.
//!
//! Devices other than ONNX Runtime on the CPU are taken only if the model has golden tiles and the device reproduces them. Without ONNX
//! Runtime, the project's own kernels run the models that they support.

use support::Result;

use crate::golden::{Outcome, Tolerance};
use crate::model::Model;
use crate::runtime::{self, Device, Library, Precision};
use crate::segmenter::{Options, Segmenter};
use crate::verify::on_golden_tiles;

/// Session on the chosen device.
pub struct Chosen {
    /// Session.
    pub segmenter: Segmenter,
    /// Options for further sessions of the same kind; the device is never [`Device::Auto`].
    pub options: Options,
    /// Result of the golden tiles; `None` if the model has none.
    pub golden: Option<(Outcome, Tolerance)>,
}

/// Creates a session on the given device, or on the best device for [`Device::Auto`], and checks the model's golden tiles on it.
///
/// # Errors
/// A device that is absent or does not reproduce the golden tiles; for `auto`, no device that works.
pub fn open(model: &Model, options: &Options, precision: Option<Precision>) -> Result<Chosen> {
    if options.device != Device::Auto {
        return open_proven(model, Options { precision: precision.unwrap_or_default(), ..options.clone() });
    }
    let has_runtime = runtime::locate(Library::OnnxRuntime, options.runtime.as_deref()).is_ok();
    let machine = Machine {
        nvidia: has_runtime && runtime::has_nvidia(),
        amx: runtime::has_amx(),
        openvino: runtime::locate(Library::OpenVino, None).is_ok(),
    };
    for (device, best_precision) in candidates(model, machine) {
        let precision = precision.filter(|_| device != Device::Native).unwrap_or(best_precision);
        match open_proven(model, Options { device, precision, ..options.clone() }) {
            Ok(chosen) => return Ok(chosen),
            Err(error) => tracing::info!("auto: {device} is not used: {error}"),
        }
    }
    if precision == Some(Precision::Bf16) {
        tracing::warn!("auto: kernels for CPUs without AMX compute in f32");
    }
    let fallback = |device| open_proven(model, Options { device, precision: Precision::F32, ..options.clone() });
    if has_runtime || options.runtime.is_some() {
        return fallback(Device::Cpu);
    }
    // Without ONNX Runtime, the native device is taken even if the model has no golden tiles.
    fallback(Device::Native).or_else(|error| {
        tracing::info!("auto: native is not used: {error}");
        fallback(Device::Cpu)
    })
}

/// Hardware and libraries of the machine.
#[derive(Clone, Copy)]
struct Machine {
    nvidia: bool,
    amx: bool,
    openvino: bool,
}

/// Returns the devices to try before ONNX Runtime on the CPU, fastest first, each with its fastest arithmetic.
///
/// `OpenVINO` is faster than the native device only in bf16 on CPUs with AMX.
fn candidates(model: &Model, machine: Machine) -> Vec<(Device, Precision)> {
    let gpus = [(Device::TensorRt, Precision::F32), (Device::Cuda, Precision::F32)];
    let openvino = (machine.amx && machine.openvino).then_some((Device::OpenVino, Precision::Bf16));
    let has_golden_tiles = !model.golden.is_empty();
    let all = gpus.into_iter().filter(|_| machine.nvidia).chain(openvino).chain([(Device::Native, Precision::F32)]);
    all.filter(|_| has_golden_tiles).collect()
}

/// Creates a session on the device of `options` and checks the model's golden tiles on it.
pub(crate) fn open_proven(model: &Model, options: Options) -> Result<Chosen> {
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
    fn candidates_need_golden_tiles_and_openvino_needs_amx() {
        let tried = |tiles, amx, openvino| candidates(&model(tiles), Machine { nvidia: false, amx, openvino });
        let openvino = |tiles, amx, there| tried(tiles, amx, there).contains(&(Device::OpenVino, Precision::Bf16));
        assert!(openvino(1, true, true));
        assert!(!openvino(0, true, true) && !openvino(1, false, true) && !openvino(1, true, false));
        assert_eq!(tried(1, false, true), [(Device::Native, Precision::F32)]);
        assert!(tried(0, false, true).is_empty());
    }
}

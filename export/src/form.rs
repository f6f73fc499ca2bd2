//! Forms of a shipped network: graph rewrites for the runtime that will run it, and the arithmetic. Each form is compared with the plain graph.

use std::collections::BTreeMap;

use infer::model::Model;
use infer::network::Network;
use infer::segmenter::{self, Segmenter};
use models::card::{Form, ModelCard, Parity, Precision, Target};
use models::graph::UpConvForm;
use support::{Context, Result, bail};

use crate::checkpoint::ParityReference;
use crate::pass::{self, up_conv};
use crate::writer::Arithmetic;
use crate::{calibrate, tiles};

/// Lowest number of input channels for which [`UpConvForm::Phases`] is faster in ONNX Runtime's CPU kernels (measured:
/// docs/lab/model-forms.md).
const PHASES_FROM: usize = 256;

/// Lowers the plain graph to a form; 8-bit arithmetic needs `ranges`, see [`ranges`].
pub fn lower(model: &pass::Model, target: Target, precision: Precision, ranges: BTreeMap<String, [f32; 2]>) -> (pass::Model, Arithmetic) {
    let arithmetic = match precision {
        Precision::F32 => Arithmetic::F32,
        Precision::F16 => Arithmetic::F16,
        // 8-bit kernels exist for the operators of the plain graph, but not for transposed convolutions and phases.
        Precision::Int8 => return (model.clone(), Arithmetic::Int8(ranges)),
    };
    let form = |channels: usize| match target {
        Target::Cpu => (channels >= PHASES_FROM).then_some(UpConvForm::Phases),
        Target::OpenVino => Some(UpConvForm::Transposed),
        Target::Cuda | Target::TensorRt => None,
    };
    (up_conv(model.clone(), form), arithmetic)
}

/// Calibrates the value ranges of a form on `sites`; floating-point forms need none.
pub fn ranges(
    model: &pass::Model,
    precision: Precision,
    sites: &[tiles::Site],
    run: &segmenter::Options,
) -> Result<BTreeMap<String, [f32; 2]>> {
    match precision {
        Precision::F32 | Precision::F16 => Ok(BTreeMap::new()),
        Precision::Int8 => {
            let tiles: Vec<_> = sites.iter().map(|site| (site.tile(HALO), site.side(HALO))).collect();
            calibrate::ranges(&model.0, &model.1, &tiles, run)
        }
    }
}

/// Halo in pixels of the tiles for calibration and comparison.
const HALO: usize = 64;

/// Comparison of a form with the plain graph.
pub struct Comparison {
    /// Difference of the quantised probabilities; stored in the card.
    pub parity: Parity,
    /// Speed of the form relative to the plain graph on this machine (above 1 is faster); not stored in the card.
    pub speed: f64,
    /// See [`Form::training_parity`].
    pub training: Option<Parity>,
}

/// Runs the plain graph and the form on all sites, and both on the parity reference.
///
/// # Errors
/// A network fails on a tile, or the plain graph disagrees with the training program, see [`against_training`].
pub fn against_plain(
    plain: &mut Segmenter,
    form: &Model,
    sites: &[tiles::Site],
    parity_reference: Option<&ParityReference>,
    run: &segmenter::Options,
) -> Result<Comparison> {
    let mut formed = Segmenter::new(form, run)?;
    let (mut expected, mut found, mut seconds) = (Vec::new(), Vec::new(), [f64::INFINITY; 2]);
    for site in sites {
        let (image, side) = (site.tile(HALO), site.side(HALO));
        expected.extend(timed(plain, &image, side, &mut seconds[0])?);
        found.extend(timed(&mut formed, &image, side, &mut seconds[1])?);
    }
    let level = form.card.decoding.first_foreground_level();
    against_training(plain, parity_reference, level, true)?;
    let training = against_training(&mut formed, parity_reference, level, false)?;
    Ok(Comparison { parity: Parity::of_levels(&expected, &found, level), speed: seconds[0] / seconds[1], training })
}

/// Runs one tile and lowers `shortest` to its time in seconds. The shortest time counts, because the first tiles include warm-up.
fn timed(network: &mut Segmenter, image: &[u8], side: usize, shortest: &mut f64) -> Result<Vec<u8>> {
    let began = std::time::Instant::now();
    let levels = network.quantised(image, 1, side, side).doing(|| "comparing forms")?;
    *shortest = shortest.min(began.elapsed().as_secs_f64());
    Ok(levels)
}

/// Records form and parity in the card.
///
/// # Errors
/// The fraction of flipped pixels exceeds `max_flipped`.
pub fn record(card: &mut ModelCard, target: Target, precision: Precision, parity: Option<Parity>, max_flipped: f64) -> Result<()> {
    if let Some(parity) = parity.filter(|parity| parity.flipped_share > max_flipped) {
        bail!(
            "in {precision} for {target}, {:.3} % of the pixels change side, at most {:.3} % are allowed", 100.0 * parity.flipped_share, 100.0 * max_flipped;
            hint: "export in f32, calibrate on more and more typical images by --tiles, or allow more by --max-flipped"
        );
    }
    card.form = Form { target, precision, parity, training_parity: card.form.training_parity };
    Ok(())
}

/// Largest allowed difference of a probability between the plain graph in f32 and the training program: both add in different orders, and
/// the differences accumulate over some forty layers.
const MAX_FROM_TRAINING: f64 = 1e-3;

/// Compares a network with the training program on the checkpoint's parity reference; returns `None` if there is no reference.
///
/// # Errors
/// The network is the plain graph (`is_plain`), and a probability differs by more than 0.001.
pub fn against_training(
    network: &mut Segmenter,
    parity_reference: Option<&ParityReference>,
    level: u8,
    is_plain: bool,
) -> Result<Option<Parity>> {
    let Some(ParityReference { image, probability, height, width }) = parity_reference else { return Ok(None) };
    let found = network.probabilities(image, 1, *height, *width)?;
    let parity = Parity::of_probabilities(probability, &found, level);
    let max_change = parity.max_change;
    if is_plain && max_change > MAX_FROM_TRAINING {
        bail!(
            "the exported network's probabilities differ from those of training by up to {max_change:.5}, at most {MAX_FROM_TRAINING} are allowed";
            hint: "the checkpoint's weights were changed after training, or ONNX Runtime computes wrong results on this machine: try another checkpoint or another version of ONNX Runtime"
        );
    }
    Ok(Some(parity))
}

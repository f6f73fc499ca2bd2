//! The form in which a network ships: by what is going to run it, and in which arithmetic. Each is compared with the plain graph.

use std::collections::BTreeMap;

use infer::golden::compare;
use infer::segmenter::{self, Model, Network, Segmenter};
use models::card::{Form, ModelCard, Parity, Precision, Target};
use models::decode::quantise;
use models::graph::UpConvForm;
use support::{Context, Result, bail};

use crate::pass::{self, up_conv};
use crate::weights::ParityReference;
use crate::writer::Arithmetic;
use crate::{calibrate, tiles};

/// Channels of the small map from which on ONNX Runtime's CPU kernels gain from [`UpConvForm::Phases`] (docs/lab/model-forms.md has the figures).
const PHASES_FROM: usize = 256;

/// Graph, weights and arithmetic of a form; `ranges` are needed for 8 bits.
pub fn lower(model: &pass::Model, target: Target, precision: Precision, ranges: BTreeMap<String, [f32; 2]>) -> (pass::Model, Arithmetic) {
    let arithmetic = match precision {
        Precision::F32 => Arithmetic::F32,
        Precision::F16 => Arithmetic::F16,
        // Transposed convolutions and phases have no 8-bit kernels: the plain graph has.
        Precision::Int8 => return (model.clone(), Arithmetic::Int8(ranges)),
    };
    let form = |channels: usize| match target {
        Target::Cpu => (channels >= PHASES_FROM).then_some(UpConvForm::Phases),
        Target::OpenVino => Some(UpConvForm::Transposed),
        Target::Cuda | Target::TensorRt => None,
    };
    (up_conv(model.clone(), form), arithmetic)
}

/// The ranges of values for a form; none are needed for floats.
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

/// Pixels around the cores of tiles that are compared.
const HALO: usize = 64;

/// How far a form is from the plain graph on tiles, and how many times as fast it is here (not part of the card: it is this machine's).
pub struct Comparison {
    /// What goes into the card.
    pub parity: Parity,
    /// Time of the plain graph by that of the form.
    pub speed: f64,
    /// See [`Form::training_parity`].
    pub training: Option<Parity>,
}

/// Runs both on all tiles.
pub fn against_plain(
    plain: &mut Segmenter,
    form: &Model,
    sites: &[tiles::Site],
    parity_reference: Option<&ParityReference>,
    run: &segmenter::Options,
) -> Result<Comparison> {
    let mut formed = Segmenter::new(form, run)?;
    let (mut expected, mut seen, mut seconds) = (Vec::new(), Vec::new(), [f64::INFINITY; 2]);
    for site in sites {
        let (image, side) = (site.tile(HALO), site.side(HALO));
        expected.extend(timed(plain, &image, side, &mut seconds[0])?);
        seen.extend(timed(&mut formed, &image, side, &mut seconds[1])?);
    }
    let level = form.card.decoding.first_foreground_level();
    against_training(plain, parity_reference, level, true)?;
    let training = against_training(&mut formed, parity_reference, level, false)?;
    Ok(Comparison { parity: compare(&expected, &seen, level), speed: seconds[0] / seconds[1], training })
}

/// The shortest time of all tiles counts: the first ones warm up.
fn timed(network: &mut Segmenter, image: &[u8], side: usize, shortest: &mut f64) -> Result<Vec<u8>> {
    let began = std::time::Instant::now();
    let map = network.quantised(image, 1, side, side).doing(|| "comparing forms")?;
    *shortest = shortest.min(began.elapsed().as_secs_f64());
    Ok(map)
}

/// Writes the figures into the card; an error where a form loses more than is allowed.
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

/// The most by which the plain graph in f32 may differ from the training program: the order of sums, some forty layers deep.
const MAX_FROM_TRAINING: f64 = 1e-3;

/// Runs what the checkpoint says of its own image; `None` where it says nothing. An error where the plain graph says something else.
pub fn against_training(
    network: &mut Segmenter,
    parity_reference: Option<&ParityReference>,
    level: u8,
    is_plain: bool,
) -> Result<Option<Parity>> {
    let Some(ParityReference { image, probability, height, width }) = parity_reference else { return Ok(None) };
    let found = network.probabilities(image, 1, *height, *width)?;
    let changes = || found.iter().zip(probability).map(|(a, b)| f64::from((a - b).abs()));
    let max_change = changes().fold(0.0, f64::max);
    if is_plain && max_change > MAX_FROM_TRAINING {
        bail!(
            "the file's probabilities differ from those of training by up to {max_change:.5}, at most {MAX_FROM_TRAINING} are allowed";
            hint: "the checkpoint's weights were changed after training, or ONNX Runtime is wrong here: try another checkpoint or another version"
        );
    }
    let pixels = found.len();
    let flipped = found.iter().zip(probability).filter(|(a, b)| (quantise(**a) >= level) != (quantise(**b) >= level)).count();
    let mean_change = changes().sum::<f64>() / pixels as f64;
    Ok(Some(Parity { pixels, max_change, mean_change, flipped_share: flipped as f64 / pixels as f64 }))
}

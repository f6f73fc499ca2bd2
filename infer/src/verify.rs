//! Verification of a model on this machine, before it is used for slides.

use std::time::{Duration, Instant};

use support::{Result, bail};

use crate::golden::{self, Outcome, Tolerance};
use crate::model::Model;
use crate::network::Network;
use crate::runtime::Precision;
use crate::segmenter::{Options, Segmenter};

/// Report of [`verify`]; it exists only if every check passed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Device that ran the model.
    pub device: crate::runtime::Device,
    /// Kernels, with version or instruction set.
    pub kernels: String,
    /// Smallest and largest probability on the noise images.
    pub range: (f32, f32),
    /// Time for one image of 256 x 256 pixels (rounded up to the stride), the smaller of two runs after a first run.
    pub time: Duration,
    /// Result of the model's golden tiles, with the tolerance; `None` if the model has none.
    pub golden: Option<(Outcome, Tolerance)>,
}

/// Checks a model on its golden tiles and on two noise images.
///
/// # Errors
/// Golden tiles that are not reproduced, a probability outside of 0..=1, a quantised output that is not the rounded probability, or a batch of
/// two whose results differ from those of single images.
pub fn verify(model: &Model, options: &Options) -> Result<Report> {
    let mut segmenter = Segmenter::new(model, options)?;
    let golden = on_golden_tiles(model, &mut segmenter, options.precision)?;
    on_noise(model, &mut segmenter, golden)
}

/// Checks a session on noise images, as the second part of [`verify`]; `golden` is the result of the golden tiles, for the report.
pub fn on_noise(model: &Model, segmenter: &mut Segmenter, golden: Option<(Outcome, Tolerance)>) -> Result<Report> {
    let side = 256_usize.next_multiple_of(model.card.stride);
    let images = noise(2 * side * side * 3);
    let batch = segmenter.probabilities(&images, 2, side, side)?;
    let quantised = segmenter.quantised(&images, 2, side, side)?;
    check_range(&batch)?;
    check_quantised(&batch, &quantised)?;
    let mut time = Duration::MAX;
    for (image, expected) in images.chunks(side * side * 3).zip(batch.chunks(side * side)) {
        let began = Instant::now();
        let single = segmenter.probabilities(image, 1, side, side)?;
        time = time.min(began.elapsed());
        check_batch(expected, &single)?;
    }
    let range = batch.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &p| (low.min(p), high.max(p)));
    Ok(Report { device: segmenter.device(), kernels: segmenter.kernels(), range, time, golden })
}

/// Checks a session on the model's golden tiles; `None` if the model has none.
///
/// # Errors
/// A difference beyond the tolerance.
pub fn on_golden_tiles(model: &Model, segmenter: &mut Segmenter, precision: Precision) -> Result<Option<(Outcome, Tolerance)>> {
    let device = segmenter.device();
    let Some(outcome) = golden::run(&model.golden, &model.card, segmenter)? else { return Ok(None) };
    let tolerance = golden::tolerance(&model.card, device, precision);
    tolerance.check(&outcome, device)?;
    Ok(Some((outcome, tolerance)))
}

/// Checks that probabilities are finite and in 0..=1.
fn check_range(probabilities: &[f32]) -> Result<()> {
    match probabilities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        Some(p) => {
            bail!("the model gives the probability {p}, expected 0 to 1"; hint: "its weights are damaged or overflow: train or export again")
        }
        None => Ok(()),
    }
}

/// Checks the quantised output up to a rounding error of 0.01, because some devices round the product before they round to an integer.
fn check_quantised(probabilities: &[f32], quantised: &[u8]) -> Result<()> {
    let differs = |(p, q): (&f32, &u8)| (255.0 * p - f32::from(*q)).abs() > 0.51;
    match probabilities.iter().zip(quantised).position(differs) {
        Some(i) => bail!("the probability {} is quantised as {}", probabilities[i], quantised[i]),
        None => Ok(()),
    }
}

/// Checks that an image gives the same probabilities in a batch of two and alone, up to 1e-4.
///
/// Kernels may sum in another order for another batch size; an error that mixes the images of a batch is far larger.
fn check_batch(batch: &[f32], single: &[f32]) -> Result<()> {
    let largest = batch.iter().zip(single).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    if largest > 1e-4 {
        bail!("an image in a batch of two and alone differ by a probability of {largest}"; hint: "this device's kernels are wrong: use the device cpu");
    }
    Ok(())
}

/// Returns deterministic pseudo-random bytes (xorshift64).
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

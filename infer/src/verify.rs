//! Does this file give sound results on this machine? Run before a model is trusted with slides.

use std::time::{Duration, Instant};

use support::{Result, bail};

use crate::golden::{self, Outcome, Tolerance};
use crate::runtime::Precision;
use crate::segmenter::{Model, Network, Options, Segmenter};

/// What [`verify`] saw. That it exists means that every check passed.
#[derive(Clone, Debug)]
pub struct Report {
    /// What ran the model.
    pub device: crate::runtime::Device,
    /// Whose kernels, in words.
    pub kernels: String,
    /// Smallest and largest probability on the test images.
    pub range: (f32, f32),
    /// Time for one image of 256 x 256 pixels, after a first one.
    pub time: Duration,
    /// How the model's golden tiles came out, and what was allowed; `None` where it carries none.
    pub golden: Option<(Outcome, Tolerance)>,
}

/// Runs the model on two noise images: probabilities are finite and in 0..=1, a batch of two equals two singles, and the
/// quantised output is the rounded one. Before that on its golden tiles: they come out as the model says.
pub fn verify(model: &Model, options: &Options) -> Result<Report> {
    let mut segmenter = Segmenter::new(model, options)?;
    let golden = on_golden_tiles(model, &mut segmenter, options.precision)?;
    on_noise(model, &mut segmenter, golden)
}

/// The part of [`verify`] with noise, on a session whose golden tiles came out as `golden`.
pub fn on_noise(model: &Model, segmenter: &mut Segmenter, golden: Option<(Outcome, Tolerance)>) -> Result<Report> {
    let side = 256_usize.next_multiple_of(model.card.stride);
    let images = noise(2 * side * side * 3);
    let both = segmenter.probabilities(&images, 2, side, side)?;
    let quantised = segmenter.quantised(&images, 2, side, side)?;
    check_range(&both)?;
    check_quantised(&both, &quantised)?;
    let mut time = Duration::MAX;
    for (image, expected) in images.chunks(side * side * 3).zip(both.chunks(side * side)) {
        let began = Instant::now();
        let alone = segmenter.probabilities(image, 1, side, side)?;
        time = time.min(began.elapsed());
        check_same(expected, &alone)?;
    }
    let range = both.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &p| (low.min(p), high.max(p)));
    Ok(Report { device: segmenter.device(), kernels: segmenter.kernels(), range, time, golden })
}

/// Runs the golden tiles; an error where they come out otherwise than the model says.
pub fn on_golden_tiles(model: &Model, segmenter: &mut Segmenter, precision: Precision) -> Result<Option<(Outcome, Tolerance)>> {
    let device = segmenter.device();
    let Some(outcome) = golden::run(&model.golden, &model.card, segmenter)? else { return Ok(None) };
    let tolerance = golden::tolerance(&model.card, device, precision);
    tolerance.check(&outcome, device)?;
    Ok(Some((outcome, tolerance)))
}

fn check_range(probabilities: &[f32]) -> Result<()> {
    match probabilities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        Some(p) => {
            bail!("the model gives the probability {p}, expected 0 to 1"; hint: "its weights are damaged or overflow: train or export again")
        }
        None => Ok(()),
    }
}

/// Equal up to one step: some devices round the product before the integer.
fn check_quantised(probabilities: &[f32], quantised: &[u8]) -> Result<()> {
    let off = |(p, q): (&f32, &u8)| (255.0 * p - f32::from(*q)).abs() > 0.51;
    match probabilities.iter().zip(quantised).position(off) {
        Some(i) => bail!("the probability {} is quantised as {}", probabilities[i], quantised[i]),
        None => Ok(()),
    }
}

/// Kernels may sum in another order for another batch; what a batch leaks into its neighbours is far larger.
fn check_same(batch: &[f32], alone: &[f32]) -> Result<()> {
    let worst = batch.iter().zip(alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    if worst > 1e-4 {
        bail!("an image in a batch of two and alone differ by a probability of {worst}"; hint: "this device's kernels are wrong: use the device cpu");
    }
    Ok(())
}

/// Bytes that follow from their number alone (xorshift64).
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

//! Effective receptive field: the smallest halo with which the core of a tile agrees with the whole image, measured on real tiles.
//!
//! The theoretical receptive field is exact but expensive, because its outer part contributes almost nothing. The effective one depends on
//! the weights and the images, so it is measured at export, and the figures are stored in the model card.

use infer::segmenter::Segmenter;
use models::card::{EffectiveReach, HaloFigures};
use models::decode::quantise;
use support::Result;
use support::console::Progress;

use crate::tiles::Site;

/// Largest change of a probability that the default halo may cause: one step of the quantised output.
pub const TOLERANCE: f64 = 1.0 / 255.0;
/// Safety factor: the measured change must stay this many times below [`TOLERANCE`], because sites that were not measured may be worse.
const RESERVE: f64 = 2.0;
/// Number of sites that are measured.
pub const TILES: usize = 4;
/// Tested halos in multiples of the stride, ascending; those not below the theoretical reach are skipped.
const STEPS: [usize; 9] = [0, 1, 2, 3, 4, 5, 6, 8, 12];

/// Side of the compared cores in pixels: 256, rounded up to a multiple of the stride.
pub fn core_px(stride: usize) -> usize {
    256_usize.next_multiple_of(stride)
}

/// Measures the effective reach on `sites`; returns `None` if there are none.
///
/// The effective reach is the smallest tested halo such that neither this nor any larger halo changes a probability by more than half of
/// [`TOLERANCE`] at any site; if there is no such halo, the effective reach is the theoretical one.
///
/// # Errors
/// The network fails on a tile.
pub fn measure(segmenter: &mut Segmenter, sites: &[Site], progress: &dyn Progress) -> Result<Option<EffectiveReach>> {
    if sites.is_empty() {
        return Ok(None);
    }
    let card = segmenter.card().clone();
    let core = core_px(card.stride);
    let level = card.decoding.first_foreground_level();
    let halos: Vec<usize> = STEPS.iter().map(|step| step * card.stride).filter(|&halo| halo < card.reach_px).collect();
    let mut deviations: Vec<Deviation> = halos.iter().map(|_| Deviation::default()).collect();
    progress.begin("effective reach", (sites.len() * (halos.len() + 1)) as u64, "tiles");
    let mut done = 0;
    for site in sites {
        let mut run = |halo: usize| {
            let side = core + 2 * halo;
            let probabilities = segmenter.probabilities(&site.tile(halo), 1, side, side);
            done += 1;
            progress.at(done, &format!("halo {halo} px"));
            Ok::<_, support::Error>(crop_core(&probabilities?, side, halo))
        };
        let exact = run(card.reach_px)?;
        for (&halo, deviation) in halos.iter().zip(&mut deviations) {
            deviation.add(&exact, &run(halo)?, level);
        }
    }
    progress.end();
    let pixels = (sites.len() * core * core) as f64;
    let of =
        |(&px, seen): (&usize, &Deviation)| HaloFigures { px, max_change: seen.max_change, flipped_share: seen.flipped as f64 / pixels };
    let mut curve: Vec<HaloFigures> = halos.iter().zip(&deviations).map(of).collect();
    curve.push(HaloFigures { px: card.reach_px, max_change: 0.0, flipped_share: 0.0 });
    Ok(Some(from_curve(curve, sites.len(), core)))
}

fn from_curve(curve: Vec<HaloFigures>, tiles: usize, core_px: usize) -> EffectiveReach {
    let HaloFigures { px, max_change, flipped_share } = smallest_stable(&curve).clone();
    EffectiveReach { px, tolerance: TOLERANCE, max_change, flipped_share, curve, tiles, core_px }
}

/// Crops `halo` pixels from each edge of a map of `side` x `side` pixels.
fn crop_core(map: &[f32], side: usize, halo: usize) -> Vec<f32> {
    map.chunks(side).skip(halo).take(side - 2 * halo).flat_map(|row| &row[halo..side - halo]).copied().collect()
}

/// Deviation from the exact probabilities with one halo, over all sites.
#[derive(Default)]
struct Deviation {
    max_change: f64,
    flipped: usize,
}

impl Deviation {
    /// Adds the pixels of one core; `level` is the lowest quantised probability that counts as nucleus.
    fn add(&mut self, exact: &[f32], tile: &[f32], level: u8) {
        for (&a, &b) in exact.iter().zip(tile) {
            self.max_change = self.max_change.max(f64::from((a - b).abs()));
            self.flipped += usize::from((quantise(a) >= level) != (quantise(b) >= level));
        }
    }
}

/// Returns the first entry such that it and all later ones are within the tolerance; the last one, the theoretical reach, always is.
fn smallest_stable(curve: &[HaloFigures]) -> &HaloFigures {
    let beyond = curve.iter().rposition(|figures| figures.max_change > TOLERANCE / RESERVE);
    &curve[beyond.map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(changes: &[f64]) -> Vec<HaloFigures> {
        changes.iter().enumerate().map(|(i, &max_change)| HaloFigures { px: 32 * i, max_change, flipped_share: 0.0 }).collect()
    }

    #[test]
    fn a_halo_is_chosen_only_if_every_larger_one_is_within_the_tolerance_too() {
        assert_eq!(smallest_stable(&curve(&[0.9, 0.02, 0.003, 0.001, 0.0])).px, 96);
        assert_eq!(smallest_stable(&curve(&[0.9, 0.001, 0.5, 0.001, 0.0])).px, 96);
        assert_eq!(smallest_stable(&curve(&[0.001, 0.0])).px, 0);
        assert_eq!(smallest_stable(&curve(&[0.9, 0.8, 0.0])).px, 64);
    }

    #[test]
    fn the_halo_is_cropped_on_each_side() {
        let map: Vec<f32> = (0..36).map(|i| i as f32).collect();
        assert_eq!(crop_core(&map, 6, 2), [14.0, 15.0, 20.0, 21.0]);
    }
}

//! The smallest halo at which a tile's core agrees with the whole image, measured on real tiles.
//!
//! The theoretical reach is exact but dear: hardly anything comes from its outer part. What a trained network really looks at
//! depends on its weights and its images, so it is measured, and the figures travel in the card.

use infer::segmenter::Segmenter;
use models::card::{EffectiveReach, HaloFigures};
use models::decode::quantise;
use support::Result;
use support::console::Progress;

use crate::tiles::Site;

/// The largest change of a probability that a default halo may cause: one step of the quantised output.
pub const TOLERANCE: f64 = 1.0 / 255.0;
/// Only some places are measured, and others may be a little worse: the measured change stays this many times below [`TOLERANCE`].
const RESERVE: f64 = 2.0;
/// Tiles that are looked at.
pub const TILES: usize = 4;
/// Halos that are tried, in multiples of the stride; each larger than the one before, all below the reach.
const STEPS: [usize; 9] = [0, 1, 2, 3, 4, 5, 6, 8, 12];

/// Side of the cores that are compared: about 256 pixels, a multiple of the stride.
pub fn core_px(stride: usize) -> usize {
    256_usize.next_multiple_of(stride)
}

/// Measures the effective reach on `sites`; `None` without any.
///
/// It is the smallest halo that was tried from which on no halo moves a probability by more than half of [`TOLERANCE`] on any tile;
/// the theoretical reach where there is none.
pub fn measure(segmenter: &mut Segmenter, sites: &[Site], progress: &dyn Progress) -> Result<Option<EffectiveReach>> {
    if sites.is_empty() {
        return Ok(None);
    }
    let card = segmenter.card().clone();
    let core = core_px(card.stride);
    let level = card.decoding.first_foreground_level();
    let halos: Vec<usize> = STEPS.iter().map(|step| step * card.stride).filter(|&halo| halo < card.reach_px).collect();
    let mut figures: Vec<Figures> = halos.iter().map(|_| Figures::default()).collect();
    progress.begin("effective reach", (sites.len() * (halos.len() + 1)) as u64, "tiles");
    let mut done = 0;
    for site in sites {
        let mut run = |halo: usize| {
            let side = core + 2 * halo;
            let map = segmenter.probabilities(&site.tile(halo), 1, side, side);
            done += 1;
            progress.at(done, &format!("halo {halo} px"));
            Ok::<_, support::Error>(middle(&map?, side, halo))
        };
        let whole = run(card.reach_px)?;
        for (&halo, figures) in halos.iter().zip(&mut figures) {
            figures.compare(&whole, &run(halo)?, level);
        }
    }
    progress.end();
    let pixels = (sites.len() * core * core) as f64;
    let of = |(&px, seen): (&usize, &Figures)| HaloFigures { px, max_change: seen.max_change, flipped_share: seen.flipped as f64 / pixels };
    let mut curve: Vec<HaloFigures> = halos.iter().zip(&figures).map(of).collect();
    curve.push(HaloFigures { px: card.reach_px, max_change: 0.0, flipped_share: 0.0 });
    let chosen = smallest_that_stays(&curve).clone();
    Ok(Some(EffectiveReach {
        px: chosen.px,
        tolerance: TOLERANCE,
        max_change: chosen.max_change,
        flipped_share: chosen.flipped_share,
        curve,
        tiles: sites.len(),
        core_px: core,
    }))
}

/// The core of a map of `side` x `side` with a border of `halo`.
fn middle(map: &[f32], side: usize, halo: usize) -> Vec<f32> {
    map.chunks(side).skip(halo).take(side - 2 * halo).flat_map(|row| &row[halo..side - halo]).copied().collect()
}

/// What one halo did to all tiles.
#[derive(Default)]
struct Figures {
    max_change: f64,
    flipped: usize,
}

impl Figures {
    fn compare(&mut self, whole: &[f32], tile: &[f32], level: u8) {
        for (&a, &b) in whole.iter().zip(tile) {
            self.max_change = self.max_change.max(f64::from((a - b).abs()));
            self.flipped += usize::from((quantise(a) >= level) != (quantise(b) >= level));
        }
    }
}

/// The first entry from which on all are within the tolerance; the last one, the theoretical reach, always is.
fn smallest_that_stays(curve: &[HaloFigures]) -> &HaloFigures {
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
    fn a_halo_counts_only_if_every_larger_one_holds_too() {
        assert_eq!(smallest_that_stays(&curve(&[0.9, 0.02, 0.003, 0.001, 0.0])).px, 96);
        assert_eq!(smallest_that_stays(&curve(&[0.9, 0.001, 0.5, 0.001, 0.0])).px, 96);
        assert_eq!(smallest_that_stays(&curve(&[0.001, 0.0])).px, 0);
        assert_eq!(smallest_that_stays(&curve(&[0.9, 0.8, 0.0])).px, 64);
    }

    #[test]
    fn the_middle_is_the_core() {
        let map: Vec<f32> = (0..36).map(|i| i as f32).collect();
        assert_eq!(middle(&map, 6, 2), [14.0, 15.0, 20.0, 21.0]);
    }
}

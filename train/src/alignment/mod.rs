//! Contours on the edges of the images: a threshold that needs no masks.
//!
//! Strokes lie in the middle of nuclei and of the ground. Where the border runs between the two is left to the network, whose
//! probabilities are therefore no frequencies: .5 draws many contours too wide. The images know better: along the border of a nucleus
//! the brightness changes more than elsewhere. So the threshold is taken whose contours have the most gradient on them, beyond what even
//! ground has.
//!
//! Twice, by two measures of that. Predictions are shifted before they enter the averages that become pseudo-labels
//! (`method.edge_alignment`), so that the network learns to draw its contours there: by the magnitude of the gradient on contours
//! ([`Contours`]), which is the tighter one. And a network that was trained without any masks to fit a threshold to is decoded
//! (`evaluation.calibrate`) by the flux of the gradient through them ([`Flux`]), which also tells something where edges are weak.

mod contours;
mod decoding;
mod density;
mod edges;
mod flux;
#[cfg(test)]
mod pictures;

pub use contours::{Contours, best_threshold, thresholds};
pub use decoding::clearly_better_threshold;
pub use density::Density;
pub use edges::Edges;
pub use flux::Flux;

/// Divides the odds of every probability by those of `threshold`, so that what was at `threshold` is at .5.
pub fn shift(probabilities: &mut [f32], threshold: f64) {
    let odds = (threshold / (1.0 - threshold)) as f32;
    probabilities.iter_mut().for_each(|p| *p /= *p + (1.0 - *p) * odds);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_moves_the_threshold_to_a_half_and_keeps_the_ends_and_the_order() {
        let mut p = [0.0, 0.1, 0.5, 0.8, 0.9, 1.0];
        shift(&mut p, 0.8);
        assert!((p[3] - 0.5).abs() < 1e-6 && p[0] == 0.0 && p[5] == 1.0 && p.is_sorted(), "{p:?}");
        // Odds of 1 over odds of 4.
        assert!((p[2] - 0.2).abs() < 1e-6, "{p:?}");
        let mut same = [0.3f32, 0.7];
        shift(&mut same, 0.5);
        assert!((same[0] - 0.3).abs() < 1e-6 && (same[1] - 0.7).abs() < 1e-6);
    }
}

//! Threshold selection without masks: the probability threshold whose contours lie on the edges of the images.
//!
//! Scribbles label the middle of nuclei and of the background, not the boundary between them. The network's probabilities near the
//! boundary are therefore not calibrated, and contours at .5 are often too wide. The images have more gradient along the boundaries of
//! nuclei than elsewhere, so the best threshold is the one whose contours collect the most gradient.
//!
//! Two measures are in use:
//! - [`Contours`] sums the gradient magnitude on the contours. Edge alignment (`method.edge_alignment`) uses this measure to shift
//!   predictions before they are averaged into pseudo-labels, so that the network learns to place its contours on edges. Its contours are
//!   the tighter ones.
//! - [`Flux`] sums the flux of the gradient through the contours. Calibration without masks (`evaluation.calibrate`) uses this measure to
//!   choose the decoding threshold, because the flux is informative where edges are weak, too.

mod contours;
mod decoding;
mod density;
mod edges;
mod flux;
#[cfg(test)]
mod synthetic;

pub use contours::{Contours, best_threshold, thresholds};
pub use decoding::clearly_better_threshold;
pub use density::Density;
pub use edges::Edges;
pub use flux::Flux;

/// Divides the odds of every probability by the odds of `threshold`, so that a probability of `threshold` becomes .5.
pub fn shift(probabilities: &mut [f32], threshold: f64) {
    let odds = (threshold / (1.0 - threshold)) as f32;
    probabilities.iter_mut().for_each(|p| *p /= *p + (1.0 - *p) * odds);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_moves_the_threshold_to_one_half_and_keeps_0_and_1_and_the_order() {
        let mut p = [0.0, 0.1, 0.5, 0.8, 0.9, 1.0];
        shift(&mut p, 0.8);
        assert!((p[3] - 0.5).abs() < 1e-6 && p[0] == 0.0 && p[5] == 1.0 && p.is_sorted(), "{p:?}");
        // Odds of 1 divided by odds of 4.
        assert!((p[2] - 0.2).abs() < 1e-6, "{p:?}");
        let mut unchanged = [0.3f32, 0.7];
        shift(&mut unchanged, 0.5);
        assert!((unchanged[0] - 0.3).abs() < 1e-6 && (unchanged[1] - 0.7).abs() < 1e-6);
    }
}

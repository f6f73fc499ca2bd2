//! Pseudo-labels from an exponential moving average of predictions (Scribble2Label, MICCAI 2020, section 2.2, eq. 2).

use rayon::prelude::*;

use crate::config::{EmaStart, MethodConfig};
use crate::loss::IGNORE;

/// Pixels that one task labels.
const PIXELS_PER_TASK: usize = 1 << 14;

/// How the maps are averaged and where they are trusted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PseudoLabels {
    /// Share of a new prediction.
    pub alpha: f32,
    /// A pixel is trusted where the average is below `1 - threshold` or above `threshold`.
    pub threshold: f32,
    /// Whether averages that started at 0 are divided by `1 - (1 - alpha)^updates`; without it "unlabelled" begins as
    /// confident background (the published code).
    pub corrected: bool,
}

impl PseudoLabels {
    /// The rule that a configuration asks for.
    pub fn of(method: &MethodConfig) -> Self {
        Self { alpha: method.ema_alpha as f32, threshold: method.threshold as f32, corrected: method.ema_start == EmaStart::Corrected }
    }

    /// `w = alpha p + (1 - alpha) w`.
    pub fn update(&self, average: &mut [f32], prediction: &[f32]) {
        assert_eq!(average.len(), prediction.len());
        average.iter_mut().zip(prediction).for_each(|(w, p)| *w = self.alpha * p + (1.0 - self.alpha) * *w);
    }

    /// The average as it is judged after `updates` updates; before the first one it says nothing (0.5) if corrected.
    pub fn bias_corrected(&self, average: f32, updates: u32) -> f32 {
        match (self.corrected, updates) {
            (false, _) => average,
            (true, 0) => 0.5,
            (true, k) => (f64::from(average) / (1.0 - (1.0 - f64::from(self.alpha)).powi(k as i32))) as f32,
        }
    }

    /// Labels where the average is trusted and no scribble says anything; [`IGNORE`] elsewhere.
    pub fn labels(&self, average: &[f32], scribble: &[u8], updates: u32) -> Vec<u8> {
        let pairs = average.par_iter().zip(scribble).with_min_len(PIXELS_PER_TASK);
        pairs.map(|(&w, &scribble)| self.label(self.bias_corrected(w, updates), scribble)).collect()
    }

    fn label(&self, w: f32, scribble: u8) -> u8 {
        match w {
            _ if scribble != IGNORE => IGNORE,
            _ if w > self.threshold => 1,
            _ if w < 1.0 - self.threshold => 0,
            _ => IGNORE,
        }
    }
}

//! Pseudo-labels from an exponential moving average of predictions (Scribble2Label, MICCAI 2020, section 2.2, equation 2).

use rayon::prelude::*;

use crate::config::{EmaStart, MethodConfig};
use crate::loss::IGNORE;

/// Number of pixels that one parallel task labels.
const PIXELS_PER_TASK: usize = 1 << 14;

/// Rule for averaging predictions and for turning confident averages into labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PseudoLabels {
    /// Weight alpha of a new prediction in the average.
    pub alpha: f32,
    /// Confidence threshold tau: a pixel is labelled if its average is below `1 - threshold` or above `threshold`.
    pub threshold: f32,
    /// True if averages, which start at 0, are divided by `1 - (1 - alpha)^updates`. Without this bias correction unlabelled pixels begin
    /// as confident background, as in the published code.
    pub corrected: bool,
}

impl PseudoLabels {
    /// Returns the rule of a configuration.
    pub fn of(method: &MethodConfig) -> Self {
        Self { alpha: method.ema_alpha as f32, threshold: method.threshold as f32, corrected: method.ema_start == EmaStart::Corrected }
    }

    /// Updates the average: `w = alpha p + (1 - alpha) w` for each pixel.
    pub fn update(&self, average: &mut [f32], prediction: &[f32]) {
        assert_eq!(average.len(), prediction.len());
        average.iter_mut().zip(prediction).for_each(|(w, p)| *w = self.alpha * p + (1.0 - self.alpha) * *w);
    }

    /// Returns the average after `updates` updates, bias-corrected if the rule says so. Before the first update a corrected average is 0.5,
    /// which is never confident.
    pub fn bias_corrected(&self, average: f32, updates: u32) -> f32 {
        match (self.corrected, updates) {
            (false, _) => average,
            (true, 0) => 0.5,
            (true, k) => (f64::from(average) / (1.0 - (1.0 - f64::from(self.alpha)).powi(k as i32))) as f32,
        }
    }

    /// Labels each pixel without scribble whose average is confident; all other pixels are [`IGNORE`]. All slices are `H W` of one image,
    /// or `B H W`.
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

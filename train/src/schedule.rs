//! Learning rate over the run, as a factor of the group's own rate.

use serde::{Deserialize, Serialize};

/// How the learning rate changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// 1 throughout (what the ISBI code does).
    Constant,
    /// Half a cosine from 1 to 0.
    Cosine,
    /// `(1 - progress)^0.9`.
    Poly,
}

impl Schedule {
    /// The factor when a share `progress` in 0..=1 of the run is done.
    pub fn factor(self, progress: f64) -> f64 {
        let progress = progress.clamp(0.0, 1.0);
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine => 0.5 + 0.5 * (std::f64::consts::PI * progress).cos(),
            Schedule::Poly => (1.0 - progress).powf(0.9),
        }
    }
}

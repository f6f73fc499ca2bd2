//! How far pseudo-labels agree with the truth, where there is one: counted at every update of the maps.

use models::plane::Plane;
use serde::{Deserialize, Serialize};

use crate::loss::IGNORE;
use crate::scribble::FOREGROUND;

/// Pixels without a scribble, by truth and pseudo-label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Nucleus, labelled nucleus.
    pub nucleus_as_nucleus: u64,
    /// Nucleus, labelled background.
    pub nucleus_as_background: u64,
    /// Nucleus, not trusted.
    pub nucleus_ignored: u64,
    /// Background, labelled nucleus.
    pub background_as_nucleus: u64,
    /// Background, labelled background.
    pub background_as_background: u64,
    /// Background, not trusted.
    pub background_ignored: u64,
}

impl Confusion {
    /// Adds an image: its truth, scribbles and pseudo-labels.
    pub fn add(&mut self, truth: &Plane<u32>, scribble: &Plane<u8>, pseudo: &[u8]) {
        for ((&id, &scribble), &label) in truth.data.iter().zip(&scribble.data).zip(pseudo) {
            if scribble != IGNORE {
                continue;
            }
            let count = match (id > 0, label) {
                (true, FOREGROUND) => &mut self.nucleus_as_nucleus,
                (true, IGNORE) => &mut self.nucleus_ignored,
                (true, _) => &mut self.nucleus_as_background,
                (false, FOREGROUND) => &mut self.background_as_nucleus,
                (false, IGNORE) => &mut self.background_ignored,
                (false, _) => &mut self.background_as_background,
            };
            *count += 1;
        }
    }

    /// The share of trusted pixels among all, and the share of right ones among the trusted; 0 of nothing is 0.
    pub fn coverage_and_accuracy(&self) -> (f64, f64) {
        let right = self.nucleus_as_nucleus + self.background_as_background;
        let trusted = right + self.nucleus_as_background + self.background_as_nucleus;
        let all = trusted + self.nucleus_ignored + self.background_ignored;
        (trusted as f64 / all.max(1) as f64, right as f64 / trusted.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_without_a_scribble_is_counted_once() {
        let truth = Plane::new(7, 1, vec![1, 1, 2, 0, 0, 0, 5]).unwrap();
        let scribble = Plane::new(7, 1, vec![250, 250, 250, 250, 250, 250, 1]).unwrap();
        let mut found = Confusion::default();
        found.add(&truth, &scribble, &[1, 0, 250, 1, 0, 250, 250]);
        let each = Confusion {
            nucleus_as_nucleus: 1,
            nucleus_as_background: 1,
            nucleus_ignored: 1,
            background_as_nucleus: 1,
            background_as_background: 1,
            background_ignored: 1,
        };
        assert_eq!(found, each);
        assert_eq!(found.coverage_and_accuracy(), (4.0 / 6.0, 0.5));
        assert_eq!(Confusion::default().coverage_and_accuracy(), (0.0, 0.0));
    }
}

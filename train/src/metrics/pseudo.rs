//! Agreement of pseudo-labels with the ground truth, counted at each update of the pseudo-label maps if masks exist.

use models::plane::Plane;
use serde::{Deserialize, Serialize};

use crate::loss::IGNORE;
use crate::scribble::FOREGROUND;

/// Confusion matrix of pseudo-labels on pixels without a scribble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Nucleus pixels with the pseudo-label nucleus.
    pub nucleus_as_nucleus: u64,
    /// Nucleus pixels with the pseudo-label background.
    pub nucleus_as_background: u64,
    /// Nucleus pixels without a confident pseudo-label.
    pub nucleus_ignored: u64,
    /// Background pixels with the pseudo-label nucleus.
    pub background_as_nucleus: u64,
    /// Background pixels with the pseudo-label background.
    pub background_as_background: u64,
    /// Background pixels without a confident pseudo-label.
    pub background_ignored: u64,
}

impl Confusion {
    /// Adds the pixels of an image, given by its instance map, its scribble map and its pseudo-labels (0, 1, or [`IGNORE`]).
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

    /// Returns the fraction of pixels with a confident pseudo-label, and the fraction of correct ones among them; 0 if there are none.
    pub fn coverage_and_accuracy(&self) -> (f64, f64) {
        let correct = self.nucleus_as_nucleus + self.background_as_background;
        let confident = correct + self.nucleus_as_background + self.background_as_nucleus;
        let all = confident + self.nucleus_ignored + self.background_ignored;
        (confident as f64 / all.max(1) as f64, correct as f64 / confident.max(1) as f64)
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
        let expected = Confusion {
            nucleus_as_nucleus: 1,
            nucleus_as_background: 1,
            nucleus_ignored: 1,
            background_as_nucleus: 1,
            background_as_background: 1,
            background_ignored: 1,
        };
        assert_eq!(found, expected);
        assert_eq!(found.coverage_and_accuracy(), (4.0 / 6.0, 0.5));
        assert_eq!(Confusion::default().coverage_and_accuracy(), (0.0, 0.0));
    }
}

//! Automatic scribbles from instance labels, as in the papers: a random fraction of the skeleton components of nuclei and background.

use models::decode::components;
use models::plane::Plane;

use super::harris::corners;
use super::skeleton::skeleton;
use super::{BACKGROUND, FOREGROUND, UNLABELLED};
use crate::rng::CounterRng;

/// Generates scribbles from the skeletons of `ratio_percent` (0 to 100) of the nuclei and from the same number of background components.
///
/// Of n nucleus components, `n - floor(n (100 - ratio) / 100)` are kept; of the background, all if there are fewer. Nuclei are drawn over
/// background.
pub fn auto_scribbles(labels: &Plane<u32>, ratio_percent: u32, rng: &mut CounterRng) -> Plane<u8> {
    assert!(ratio_percent <= 100, "expected a ratio from 0 to 100 %, found {ratio_percent}");
    let nuclei = components(&skeleton(&labels.map(|&id| id > 0)));
    let mut background_skeleton = skeleton(&labels.map(|&id| id == 0));
    erase_corners(&mut background_skeleton);
    let background = components(&background_skeleton);
    let n = count(&nuclei);
    let keep = n - n * (100 - ratio_percent as usize) / 100;
    let mut scribble = Plane::filled(labels.width, labels.height, UNLABELLED);
    for (labels, value) in [(background, BACKGROUND), (nuclei, FOREGROUND)] {
        let kept = choose(count(&labels), keep, rng);
        for (out, &component) in scribble.data.iter_mut().zip(&labels.data) {
            if component > 0 && kept[component as usize - 1] {
                *out = value;
            }
        }
    }
    scribble
}

/// Returns the number of components, which are numbered from 1.
fn count(labels: &Plane<u32>) -> usize {
    labels.data.iter().max().map_or(0, |&id| id as usize)
}

/// Chooses `keep` of `n` components at random; returns a flag for each.
fn choose(n: usize, keep: usize, rng: &mut CounterRng) -> Vec<bool> {
    let mut kept = vec![false; n];
    for component in rng.permutation(n).into_iter().take(keep) {
        kept[component] = true;
    }
    kept
}

/// Splits a skeleton at its junctions by erasing 3x3 pixels around every Harris corner.
fn erase_corners(skeleton: &mut Plane<bool>) {
    for (x, y) in corners(skeleton) {
        for row in y.saturating_sub(1)..(y + 2).min(skeleton.height) {
            let right = (x + 2).min(skeleton.width);
            skeleton.row_mut(row)[x.saturating_sub(1)..right].fill(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Counts;

    /// `n x n` square nuclei of 9 x 9 px, 20 px apart.
    fn grid(n: usize) -> Plane<u32> {
        let side = 20 * n;
        let mut labels = Plane::filled(side, side, 0);
        for (k, (row, column)) in (0..n).flat_map(|r| (0..n).map(move |c| (r, c))).enumerate() {
            for y in 0..9 {
                labels.row_mut(20 * row + 6 + y)[20 * column + 6..][..9].fill(k as u32 + 1);
            }
        }
        labels
    }

    #[test]
    fn the_ratio_applies_to_whole_components() {
        let labels = grid(6);
        for (ratio, expected) in [(100, 36), (50, 18), (30, 11), (10, 4), (1, 1), (0, 0)] {
            let scribble = auto_scribbles(&labels, ratio, &mut CounterRng::new(1, "auto", 0, 0, 0));
            let touched: std::collections::BTreeSet<u32> =
                labels.data.iter().zip(&scribble.data).filter(|(_, s)| **s == FOREGROUND).map(|(id, _)| *id).collect();
            assert_eq!(touched.len(), expected, "{ratio} %");
            assert!(!touched.contains(&0));
        }
    }

    #[test]
    fn scribbles_lie_on_their_class_and_depend_only_on_the_seed() {
        let labels = grid(5);
        let make = |seed| auto_scribbles(&labels, 30, &mut CounterRng::new(seed, "auto", 0, 0, 0));
        let scribble = make(1);
        for (id, stroke) in labels.data.iter().zip(&scribble.data) {
            assert!(*stroke == UNLABELLED || (*stroke == FOREGROUND) == (*id > 0));
        }
        let counts = Counts::of(&scribble);
        assert!(counts.background > 0 && counts.foreground > 0 && counts.labelled_share() < 0.1, "{counts:?}");
        assert_eq!(scribble, make(1));
        assert_ne!(scribble, make(2));
    }

    #[test]
    fn images_without_nuclei_or_without_background_are_valid() {
        for value in [0, 1] {
            let scribble = auto_scribbles(&Plane::filled(40, 30, value), 30, &mut CounterRng::new(1, "auto", 0, 0, 0));
            assert_eq!((scribble.width, scribble.height), (40, 30));
        }
        auto_scribbles(&Plane::filled(1, 1, 1), 100, &mut CounterRng::new(1, "auto", 0, 0, 0));
    }
}

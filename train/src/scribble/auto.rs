//! Automatic scribbles from instance labels, as in the papers: pieces of the skeletons of nuclei and background, a share of them kept.

use models::decode::components;
use models::plane::Plane;

use super::harris::corners;
use super::skeleton::skeleton;
use super::{BACKGROUND, FOREGROUND, UNLABELLED};
use crate::rng::CounterRng;

/// Scribbles for `ratio_percent` (0 to 100) of the nuclei's skeletons, and as many pieces of the background's, or all if there are fewer.
///
/// Of n pieces `n - floor(n (100 - ratio) / 100)` are kept. Nuclei are written last.
pub fn auto_scribbles(labels: &Plane<u32>, ratio_percent: u32, draw: &mut CounterRng) -> Plane<u8> {
    assert!(ratio_percent <= 100, "a ratio in per cent, found {ratio_percent}");
    let nuclei = components(&skeleton(&labels.map(|&id| id > 0)));
    let mut net = skeleton(&labels.map(|&id| id == 0));
    cut(&mut net);
    let background = components(&net);
    let n = count(&nuclei);
    let keep = n - n * (100 - ratio_percent as usize) / 100;
    let mut scribble = Plane::filled(labels.width, labels.height, UNLABELLED);
    for (pieces, value) in [(background, BACKGROUND), (nuclei, FOREGROUND)] {
        let kept = chosen(count(&pieces), keep, draw);
        for (out, &piece) in scribble.data.iter_mut().zip(&pieces.data) {
            if piece > 0 && kept[piece as usize - 1] {
                *out = value;
            }
        }
    }
    scribble
}

fn count(pieces: &Plane<u32>) -> usize {
    pieces.data.iter().max().map_or(0, |&id| id as usize)
}

fn chosen(n: usize, keep: usize, draw: &mut CounterRng) -> Vec<bool> {
    let mut kept = vec![false; n];
    for piece in draw.permutation(n).into_iter().take(keep) {
        kept[piece] = true;
    }
    kept
}

/// Erases 3x3 pixels around every corner.
fn cut(net: &mut Plane<bool>) {
    for (x, y) in corners(net) {
        for row in y.saturating_sub(1)..(y + 2).min(net.height) {
            let right = (x + 2).min(net.width);
            net.row_mut(row)[x.saturating_sub(1)..right].fill(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Counts;

    /// Squares of 9 pixels, 20 apart.
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
    fn the_share_is_counted_in_whole_pieces() {
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
    fn strokes_lie_on_their_class_and_draws_repeat() {
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
    fn images_without_nuclei_or_without_background_are_no_trouble() {
        for value in [0, 1] {
            let scribble = auto_scribbles(&Plane::filled(40, 30, value), 30, &mut CounterRng::new(1, "auto", 0, 0, 0));
            assert_eq!((scribble.width, scribble.height), (40, 30));
        }
        auto_scribbles(&Plane::filled(1, 1, 1), 100, &mut CounterRng::new(1, "auto", 0, 0, 0));
    }
}

//! The least area of a nucleus where there are no masks: strokes tell.
//!
//! Whoever draws strokes on some of the nuclei draws them on small ones too, but on no speck that only the network sees. So among the
//! components of a size, the share with a stroke in it, against that share among large components, is about the share of true nuclei.

use models::decode::components;
use models::plane::Plane;

use super::calibration::AREAS;
use crate::scribble::FOREGROUND;

/// Small components count as nuclei where at least this part of the large ones' share of strokes is found among them.
const PART: f64 = 0.5;
/// With fewer small components under strokes nothing is told.
const LEAST_DRAWN: usize = 2;

/// A component of the prediction.
#[derive(Clone, Copy)]
struct Component {
    area: usize,
    drawn: bool,
}

/// The smallest of the areas that are tried, from `now` down, at which components are nuclei as far as strokes can tell. Never above
/// `now`. Each image is its probabilities and its strokes; `level` is the smallest probability of a nucleus.
pub fn least_area<'a>(images: impl IntoIterator<Item = (&'a Plane<u8>, &'a Plane<u8>)>, level: u8, now: usize) -> usize {
    let all: Vec<Component> = images.into_iter().flat_map(|(p, strokes)| found(&p.map(|&p| p >= level), strokes)).collect();
    let share = |components: &[Component]| {
        let drawn = components.iter().filter(|c| c.drawn).count();
        (drawn, drawn as f64 / components.len().max(1) as f64)
    };
    let (small, large): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| c.area < now);
    let wanted = PART * share(&large).1;
    let are_nuclei = |least: usize| {
        let between: Vec<Component> = small.iter().filter(|c| c.area >= least).copied().collect();
        let (drawn, share) = share(&between);
        drawn >= LEAST_DRAWN && share >= wanted
    };
    AREAS.into_iter().filter(|&area| area < now).find(|&area| are_nuclei(area)).unwrap_or(now)
}

/// The components of a mask, and whether a stroke on a nucleus passes through them.
fn found(mask: &Plane<bool>, strokes: &Plane<u8>) -> Vec<Component> {
    let labels = components(mask);
    let count = labels.data.iter().copied().max().unwrap_or(0) as usize;
    let mut all = vec![Component { area: 0, drawn: false }; count];
    for (&id, &stroke) in labels.data.iter().zip(&strokes.data).filter(|(id, _)| **id > 0) {
        let component = &mut all[id as usize - 1];
        component.area += 1;
        component.drawn |= stroke == FOREGROUND;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scribble::UNLABELLED;

    /// Squares of these sides in a row, each with a stroke of one pixel where the second value says so.
    fn image(squares: &[(usize, bool)]) -> (Plane<u8>, Plane<u8>) {
        let (mut p, mut strokes) = (Plane::filled(12 * squares.len(), 12, 0u8), Plane::filled(12 * squares.len(), 12, UNLABELLED));
        for (i, &(side, drawn)) in squares.iter().enumerate() {
            (1..=side).for_each(|y| p.row_mut(y)[12 * i + 1..][..side].fill(200));
            if drawn {
                strokes.row_mut(2)[12 * i + 2] = FOREGROUND;
            }
        }
        (p, strokes)
    }

    fn of(squares: &[(usize, bool)]) -> usize {
        let (p, strokes) = image(squares);
        least_area([(&p, &strokes)], 128, 64)
    }

    /// So many of a side, of which the first are drawn.
    fn some(side: usize, count: usize, drawn: usize) -> Vec<(usize, bool)> {
        (0..count).map(|i| (side, i < drawn)).collect()
    }

    #[test]
    fn small_nuclei_that_are_drawn_like_large_ones_stay() {
        assert_eq!(of(&[some(9, 10, 3), some(5, 10, 3)].concat()), 12, "25 px, and nothing below");
        assert_eq!(of(&[some(9, 10, 10), some(5, 10, 5)].concat()), 12, "half as often is enough");
    }

    #[test]
    fn specks_that_nobody_drew_go() {
        assert_eq!(of(&[some(9, 10, 3), some(5, 30, 1)].concat()), 64);
        assert_eq!(of(&[some(9, 10, 3), some(5, 10, 3), some(4, 30, 0)].concat()), 24, "nuclei of 25 px, specks of 16");
    }

    #[test]
    fn too_few_strokes_tell_nothing() {
        assert_eq!(of(&[some(9, 2, 1), some(5, 2, 1)].concat()), 64);
        assert_eq!(of(&some(9, 10, 5)), 64, "no small components");
        assert_eq!(of(&[]), 64);
    }
}

//! Least area of nuclei estimated from strokes, for images without masks.
//!
//! An annotator who draws strokes on some of the nuclei also draws on small nuclei, but not on specks that only the network predicts. So
//! the fraction of components of a size that contain a stroke, relative to that fraction among large components, estimates the fraction
//! of true nuclei among the components of this size.

use models::decode::components;
use models::plane::Plane;

use super::calibration::AREAS;
use crate::scribble::FOREGROUND;

/// Small components count as nuclei if the fraction of them with a stroke is at least this multiple of that of large components.
const MIN_RELATIVE_FRACTION: f64 = 0.5;
/// Number of small components with a stroke below which there is no evidence for a smaller area.
const MIN_STROKED: usize = 2;

/// Connected component of the predicted mask.
#[derive(Clone, Copy)]
struct Component {
    /// In pixels.
    area: usize,
    /// True if a nucleus stroke passes through the component.
    has_stroke: bool,
}

/// Returns the smallest of the candidate areas at which components are nuclei by the evidence of strokes; at most `current`. Each image is
/// a pair of its quantised probabilities and its scribbles; `level` is the first level of foreground.
pub fn min_area_from_strokes<'a>(images: impl IntoIterator<Item = (&'a Plane<u8>, &'a Plane<u8>)>, level: u8, current: usize) -> usize {
    let all: Vec<Component> = images.into_iter().flat_map(|(p, strokes)| components_of(&p.map(|&p| p >= level), strokes)).collect();
    let count_and_fraction = |components: &[Component]| {
        let stroked = components.iter().filter(|c| c.has_stroke).count();
        (stroked, stroked as f64 / components.len().max(1) as f64)
    };
    let (small, large): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| c.area < current);
    let min_fraction = MIN_RELATIVE_FRACTION * count_and_fraction(&large).1;
    let are_nuclei = |min_area: usize| {
        let between: Vec<Component> = small.iter().filter(|c| c.area >= min_area).copied().collect();
        let (stroked, fraction) = count_and_fraction(&between);
        stroked >= MIN_STROKED && fraction >= min_fraction
    };
    AREAS.into_iter().filter(|&area| area < current).find(|&area| are_nuclei(area)).unwrap_or(current)
}

/// Measures the connected components of a mask.
fn components_of(mask: &Plane<bool>, strokes: &Plane<u8>) -> Vec<Component> {
    let labels = components(mask);
    let count = labels.data.iter().copied().max().unwrap_or(0) as usize;
    let mut all = vec![Component { area: 0, has_stroke: false }; count];
    for (&id, &stroke) in labels.data.iter().zip(&strokes.data).filter(|(id, _)| **id > 0) {
        let component = &mut all[id as usize - 1];
        component.area += 1;
        component.has_stroke |= stroke == FOREGROUND;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scribble::UNLABELLED;

    /// Squares of these sides in a row, each with a stroke of one pixel if the second value is true.
    fn image(squares: &[(usize, bool)]) -> (Plane<u8>, Plane<u8>) {
        let (mut p, mut strokes) = (Plane::filled(12 * squares.len(), 12, 0u8), Plane::filled(12 * squares.len(), 12, UNLABELLED));
        for (i, &(side, has_stroke)) in squares.iter().enumerate() {
            (1..=side).for_each(|y| p.row_mut(y)[12 * i + 1..][..side].fill(200));
            if has_stroke {
                strokes.row_mut(2)[12 * i + 2] = FOREGROUND;
            }
        }
        (p, strokes)
    }

    fn min_area_of(squares: &[(usize, bool)]) -> usize {
        let (p, strokes) = image(squares);
        min_area_from_strokes([(&p, &strokes)], 128, 64)
    }

    /// `count` squares of a side, of which the first `stroked` have a stroke.
    fn some(side: usize, count: usize, stroked: usize) -> Vec<(usize, bool)> {
        (0..count).map(|i| (side, i < stroked)).collect()
    }

    #[test]
    fn small_components_with_as_many_strokes_as_large_ones_are_kept() {
        assert_eq!(min_area_of(&[some(9, 10, 3), some(5, 10, 3)].concat()), 12, "25 px, and no smaller components");
        assert_eq!(min_area_of(&[some(9, 10, 10), some(5, 10, 5)].concat()), 12, "half the fraction of large components is enough");
    }

    #[test]
    fn small_components_without_strokes_are_dropped() {
        assert_eq!(min_area_of(&[some(9, 10, 3), some(5, 30, 1)].concat()), 64);
        assert_eq!(min_area_of(&[some(9, 10, 3), some(5, 10, 3), some(4, 30, 0)].concat()), 24, "nuclei of 25 px, specks of 16");
    }

    #[test]
    fn too_few_strokes_leave_the_area_unchanged() {
        assert_eq!(min_area_of(&[some(9, 2, 1), some(5, 2, 1)].concat()), 64);
        assert_eq!(min_area_of(&some(9, 10, 5)), 64, "no small components");
        assert_eq!(min_area_of(&[]), 64);
    }
}

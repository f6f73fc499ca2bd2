//! A row of pictures for an image, and which images are shown.

use models::plane::Plane;

use crate::data::{RgbImage, Sample};
use crate::metrics::ScoreTable;
use crate::overlay;

/// Image, truth, then what each network found: errors stand out when they lie beside the truth.
pub(super) fn row<'a>(sample: &Sample, found: impl Iterator<Item = &'a Plane<u32>>) -> RgbImage {
    let truth = sample.labels.as_ref().map(|labels| (labels, overlay::TRUTH_COLOUR));
    let outlines: Vec<_> = truth.into_iter().chain(found.map(|labels| (labels, overlay::PREDICTION_COLOUR))).collect();
    overlay::row(&sample.image, &outlines)
}

/// Positions of the images from the highest `IoU` to the lowest.
pub(super) fn best_to_worst(scores: &ScoreTable) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.images.len()).collect();
    order.sort_by(|&a, &b| scores.images[b].1.iou.total_cmp(&scores.images[a].1.iou));
    order
}

/// At most `count` of the positions: the first, the last, and evenly between them.
pub(super) fn spread(order: &[usize], count: usize) -> Vec<usize> {
    if count >= order.len() {
        return order.to_vec();
    }
    (0..count).map(|i| order[if count == 1 { order.len() / 2 } else { i * (order.len() - 1) / (count - 1) }]).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn the_best_and_the_worst_are_always_shown() {
        let order = [4, 2, 0, 1, 3];
        assert_eq!(spread(&order, 3), [4, 0, 3]);
        assert_eq!(spread(&order, 9), order);
        assert_eq!(spread(&order, 1), [0]);
        assert_eq!(spread(&order, 0), [0usize; 0]);
    }
}

//! Rows of pictures for the comparison, and the choice of images on its page.

use models::plane::Plane;

use crate::data::{RgbImage, Sample};
use crate::metrics::ScoreTable;
use crate::overlay;

/// Draws image, true nuclei, and the predicted nuclei of each network side by side, so that errors can be seen beside the truth.
pub(super) fn row<'a>(sample: &Sample, predicted: impl Iterator<Item = &'a Plane<u32>>) -> RgbImage {
    let truth = sample.labels.as_ref().map(|labels| (labels, overlay::TRUTH_COLOUR));
    let outlines: Vec<_> = truth.into_iter().chain(predicted.map(|labels| (labels, overlay::PREDICTION_COLOUR))).collect();
    overlay::row(&sample.image, &outlines)
}

/// Returns the indices of the images from the highest `IoU` to the lowest.
pub(super) fn best_to_worst(scores: &ScoreTable) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.images.len()).collect();
    order.sort_by(|&a, &b| scores.images[b].1.iou.total_cmp(&scores.images[a].1.iou));
    order
}

/// Picks at most `count` of the indices: the first, the last, and evenly spaced ones between them.
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
    fn a_spread_has_the_first_and_the_last() {
        let order = [4, 2, 0, 1, 3];
        assert_eq!(spread(&order, 3), [4, 0, 3]);
        assert_eq!(spread(&order, 9), order);
        assert_eq!(spread(&order, 1), [0]);
        assert_eq!(spread(&order, 0), [0usize; 0]);
    }
}

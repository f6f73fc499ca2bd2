//! Threshold and least area fitted to validation masks; [`crate::alignment`] and [`super::min_area`] fit them without masks.

use models::decode::{Decoding, instances_of_mask};
use models::plane::Plane;
use rayon::prelude::*;

use crate::alignment::thresholds;
use crate::data::Sample;
use crate::metrics::Scores;

/// Validation image with its prediction, quantised as by the exported graph.
pub struct Predicted<'a> {
    /// Image with instance labels.
    pub sample: &'a Sample,
    /// Probability of nucleus, `round(255 p)`.
    pub probability: Plane<u8>,
}

/// Candidates for the least area, in pixels.
pub(super) const AREAS: [usize; 5] = [12, 24, 48, 64, 96];

/// Returns the threshold of the highest mean `IoU` over the images, and that mean. Of equal thresholds the nearest to `current` wins. With
/// `calibrate` false only `current` is scored. `None` without images.
pub fn best_threshold(images: &[Predicted], current: f64, calibrate: bool) -> Option<(f64, f64)> {
    let curves: Vec<IouCurve> = images.iter().filter_map(IouCurve::of).collect();
    let mean = |threshold: f64| {
        let level = Decoding { threshold, ..Decoding::default() }.first_foreground_level();
        curves.iter().map(|curve| curve.iou(level)).sum::<f64>() / curves.len() as f64
    };
    if curves.is_empty() {
        return None;
    }
    let candidates = thresholds().filter(|_| calibrate).map(|threshold| (threshold, mean(threshold)));
    let better = |a: (f64, f64), b: (f64, f64)| {
        let is_nearer = (b.0 - current).abs() < (a.0 - current).abs();
        if b.1 > a.1 || (b.1 == a.1 && is_nearer) { b } else { a }
    };
    Some(candidates.fold((current, mean(current)), better))
}

/// Returns the least area with the highest mean of F1 and AJI over the images; of equal areas the nearest to that of `decoding` wins.
pub fn best_min_area(images: &[Predicted], decoding: &Decoding) -> usize {
    let level = decoding.first_foreground_level();
    let masks: Vec<_> = images.iter().map(|image| image.probability.map(|&p| p >= level)).collect();
    let score = |min_area_px: usize| -> f64 {
        let decoding = Decoding { min_area_px, ..decoding.clone() };
        let per_image = images.par_iter().zip(&masks).filter_map(|(image, mask)| {
            let predicted = instances_of_mask(mask, &decoding);
            let scores = Scores::of_instances(image.sample.labels.as_ref()?, &predicted, None);
            Some(scores.f1 + scores.aji)
        });
        per_image.collect::<Vec<f64>>().into_iter().sum()
    };
    let current = decoding.min_area_px;
    let mut candidates: Vec<(usize, f64)> = AREAS.into_iter().chain([current]).map(|area| (area, score(area))).collect();
    candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.abs_diff(current).cmp(&b.0.abs_diff(current))));
    candidates[0].0
}

/// `IoU` of the thresholded prediction of an image at all 256 levels, from histograms of the levels.
struct IouCurve {
    /// Pixels of true nuclei, by level.
    foreground: [u64; 256],
    /// All pixels, by level.
    all: [u64; 256],
}

impl IouCurve {
    fn of(image: &Predicted) -> Option<Self> {
        let mut curve = Self { foreground: [0; 256], all: [0; 256] };
        for (&level, &id) in image.probability.data.iter().zip(&image.sample.labels.as_ref()?.data) {
            curve.all[usize::from(level)] += 1;
            curve.foreground[usize::from(level)] += u64::from(id > 0);
        }
        Some(curve)
    }

    /// Returns the `IoU` if pixels of this level and above are foreground; 1 if both masks are empty.
    fn iou(&self, level: u8) -> f64 {
        let first = usize::from(level);
        let predicted: u64 = self.all[first..].iter().sum();
        let intersection: u64 = self.foreground[first..].iter().sum();
        let union = predicted + self.foreground.iter().sum::<u64>() - intersection;
        if union == 0 { 1.0 } else { intersection as f64 / union as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{RgbImage, Split};
    use crate::metrics::Pixels;
    use crate::rng::CounterRng;
    use crate::scribble::UNLABELLED;

    /// Nuclei 6 px wide at level 200 with a rim at 150, and optionally specks of 4 px at 220.
    fn sample(specks: bool) -> (Sample, Plane<u8>) {
        let (mut labels, mut probability) = (Plane::filled(64, 64, 0u32), Plane::filled(64, 64, 20u8));
        for (id, x0) in [10, 30, 50].into_iter().enumerate() {
            for (x, y) in (0..12).flat_map(|x| (0..12).map(move |y| (x, y))) {
                let inside = (3..9).contains(&x) && (3..9).contains(&y);
                probability.row_mut(20 + y)[x0 + x - 3] = if inside { 200 } else { 150 };
                labels.row_mut(20 + y)[x0 + x - 3] = if inside { id as u32 + 1 } else { 0 };
            }
        }
        for x in (4..60).step_by(6).filter(|_| specks) {
            (0..2).for_each(|y| probability.row_mut(50 + y)[x..x + 2].fill(220));
        }
        let image = RgbImage { width: 64, height: 64, data: vec![0; 3 * 64 * 64] };
        let scribble = labels.map(|_| UNLABELLED);
        (Sample { id: "a".into(), modality: None, split: Split::Val, image, scribble, labels: Some(labels) }, probability)
    }

    #[test]
    fn a_contour_outside_the_mask_raises_the_threshold() {
        let (sample, probability) = sample(false);
        let images = [Predicted { sample: &sample, probability }];
        assert_eq!(best_threshold(&images, 0.5, true), Some((0.6, 1.0)));
        assert_eq!(best_threshold(&images, 0.5, false), Some((0.5, 0.25)), "36 of 144 pixels");
        assert_eq!(best_threshold(&[], 0.5, true), None);
    }

    #[test]
    fn the_least_area_keeps_small_nuclei_and_drops_specks() {
        let decoding = Decoding { threshold: 0.6, ..Decoding::splitting() };
        for (specks, expected) in [(false, 24), (true, 24)] {
            let (sample, probability) = sample(specks);
            assert_eq!(best_min_area(&[Predicted { sample: &sample, probability }], &decoding), expected, "nuclei have 36 px, specks 4");
        }
    }

    #[test]
    fn curves_equal_the_iou_of_thresholded_masks() {
        let mut draw = CounterRng::new(3, "levels", 0, 0, 0);
        let (sample, _) = sample(false);
        let probability = Plane { width: 64, height: 64, data: (0..64 * 64).map(|_| draw.below(256) as u8).collect() };
        let curve = IouCurve::of(&Predicted { sample: &sample, probability: probability.clone() }).unwrap();
        for level in [0, 1, 77, 128, 255] {
            let truth = sample.labels.as_ref().unwrap().data.iter().map(|&id| id > 0);
            assert_eq!(curve.iou(level), Pixels::of(truth, probability.data.iter().map(|&p| p >= level)).iou());
        }
    }
}

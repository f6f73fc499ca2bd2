//! Decoding fitted to validation masks: what [`crate::alignment`] and [`super::least_area`] find without any.

use models::decode::{Decoding, instances_of_mask};
use models::plane::Plane;
use rayon::prelude::*;

use crate::alignment::thresholds;
use crate::data::Sample;
use crate::metrics::Scores;

/// A validation image with what the network says of it, as the exported graph returns it.
pub struct Predicted<'a> {
    /// The image, with instance labels.
    pub sample: &'a Sample,
    /// `round(255 p)`.
    pub probability: Plane<u8>,
}

/// Least areas that are tried, in pixels.
pub(super) const AREAS: [usize; 5] = [12, 24, 48, 64, 96];

/// The threshold of the highest mean `IoU` over images, and that mean; of equal ones the nearest to `now`, or `now` alone if nothing
/// is to be `tried`. `None` without images.
pub fn best_threshold(images: &[Predicted], now: f64, tried: bool) -> Option<(f64, f64)> {
    let curves: Vec<Curve> = images.iter().filter_map(Curve::of).collect();
    let mean = |threshold: f64| {
        let level = Decoding { threshold, ..Decoding::default() }.first_foreground_level();
        curves.iter().map(|curve| curve.iou(level)).sum::<f64>() / curves.len() as f64
    };
    if curves.is_empty() {
        return None;
    }
    let all = thresholds().filter(|_| tried).map(|threshold| (threshold, mean(threshold)));
    let better = |a: (f64, f64), b: (f64, f64)| {
        let is_nearer = (b.0 - now).abs() < (a.0 - now).abs();
        if b.1 > a.1 || (b.1 == a.1 && is_nearer) { b } else { a }
    };
    Some(all.fold((now, mean(now)), better))
}

/// The least area with the highest mean of F1 and AJI over images; of equal ones the nearest to that of `decoding`.
pub fn best_min_area(images: &[Predicted], decoding: &Decoding) -> usize {
    let level = decoding.first_foreground_level();
    let masks: Vec<_> = images.iter().map(|image| image.probability.map(|&p| p >= level)).collect();
    let score = |min_area_px: usize| -> f64 {
        let decoding = Decoding { min_area_px, ..decoding.clone() };
        let each = images.par_iter().zip(&masks).filter_map(|(image, mask)| {
            let found = instances_of_mask(mask, &decoding);
            let scores = Scores::of_instances(image.sample.labels.as_ref()?, &found, None);
            Some(scores.f1 + scores.aji)
        });
        each.collect::<Vec<f64>>().into_iter().sum()
    };
    let now = decoding.min_area_px;
    let mut all: Vec<(usize, f64)> = AREAS.into_iter().chain([now]).map(|area| (area, score(area))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.abs_diff(now).cmp(&b.0.abs_diff(now))));
    all[0].0
}

/// `IoU` of an image's mask at every level: pixels by their level, those of nuclei and all.
struct Curve {
    nuclei: [u64; 256],
    all: [u64; 256],
}

impl Curve {
    fn of(image: &Predicted) -> Option<Self> {
        let mut curve = Self { nuclei: [0; 256], all: [0; 256] };
        for (&level, &id) in image.probability.data.iter().zip(&image.sample.labels.as_ref()?.data) {
            curve.all[usize::from(level)] += 1;
            curve.nuclei[usize::from(level)] += u64::from(id > 0);
        }
        Some(curve)
    }

    /// Where pixels from this level on count as nucleus; 1 where both masks are empty.
    fn iou(&self, level: u8) -> f64 {
        let from = usize::from(level);
        let found: u64 = self.all[from..].iter().sum();
        let shared: u64 = self.nuclei[from..].iter().sum();
        let union = found + self.nuclei.iter().sum::<u64>() - shared;
        if union == 0 { 1.0 } else { shared as f64 / union as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{RgbImage, Split};
    use crate::metrics::Pixels;
    use crate::rng::CounterRng;
    use crate::scribble::UNLABELLED;

    /// Nuclei 6 px wide at level 200 with a rim at 150, and specks of 4 px at 220 if asked for.
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
    fn a_wide_contour_gets_a_higher_threshold() {
        let (sample, probability) = sample(false);
        let images = [Predicted { sample: &sample, probability }];
        assert_eq!(best_threshold(&images, 0.5, true), Some((0.6, 1.0)));
        assert_eq!(best_threshold(&images, 0.5, false), Some((0.5, 0.25)), "36 of 144 pixels");
        assert_eq!(best_threshold(&[], 0.5, true), None);
    }

    #[test]
    fn small_nuclei_stay_and_specks_go() {
        let decoding = Decoding { threshold: 0.6, ..Decoding::splitting() };
        for (specks, expected) in [(false, 24), (true, 24)] {
            let (sample, probability) = sample(specks);
            assert_eq!(best_min_area(&[Predicted { sample: &sample, probability }], &decoding), expected, "nuclei have 36 px, specks 4");
        }
    }

    #[test]
    fn curves_are_the_iou_of_masks() {
        let mut draw = CounterRng::new(3, "levels", 0, 0, 0);
        let (sample, _) = sample(false);
        let probability = Plane { width: 64, height: 64, data: (0..64 * 64).map(|_| draw.below(256) as u8).collect() };
        let curve = Curve::of(&Predicted { sample: &sample, probability: probability.clone() }).unwrap();
        for level in [0, 1, 77, 128, 255] {
            let truth = sample.labels.as_ref().unwrap().data.iter().map(|&id| id > 0);
            assert_eq!(curve.iou(level), Pixels::of(truth, probability.data.iter().map(|&p| p >= level)).iou());
        }
    }
}

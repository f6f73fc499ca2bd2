//! Decoding threshold of a network that was trained without masks: a local maximum of the gradient flux through the contours.

use models::decode::Decoding;

use super::{Flux, thresholds};

/// Smallest conclusive flux, per pixel of the longest contours. Measured values are 1 to 8 on real images and around 0 on noise.
const MIN_FLUX: f64 = 0.1;

/// Ratio of fluxes above which a threshold is clearly better than the current one.
///
/// Networks trained on edge-aligned pseudo-labels reach at least .9 of the maximum flux at .5; within that tenth, the threshold
/// of maximum flux can be the worse one.
const MIN_GAIN: f64 = 1.1;

/// Returns the flux through the contours and their length in pixels at a threshold, summed over all images.
fn flux_at(images: &[&Flux], threshold: f64) -> (f64, f64) {
    let level = usize::from(Decoding { threshold, ..Decoding::default() }.first_foreground_level());
    (images.iter().map(|image| image.flux[level]).sum(), images.iter().map(|image| image.length[level]).sum::<i64>() as f64)
}

/// Returns the local maximum of the flux that is reached from the threshold `current` by hill climbing, if it is clearly better.
///
/// The search goes up and down from `current` until the flux falls, and takes the higher maximum. It does not cross a minimum, because the
/// contours beyond may follow other structures, such as whole cells, whose outlines are longer than those of nuclei. Returns `None` if the
/// maximum is below `MIN_GAIN` times the flux at `current`, or if the flux is inconclusive: below `MIN_FLUX` per pixel of the longest
/// contours.
pub fn clearly_better_threshold<'a>(images: impl IntoIterator<Item = &'a Flux>, current: f64) -> Option<f64> {
    let images: Vec<&Flux> = images.into_iter().collect();
    let (flux, _) = flux_at(&images, current);
    let (above, below): (Vec<f64>, Vec<f64>) =
        thresholds().filter(|threshold| *threshold != current).partition(|threshold| *threshold > current);
    let up = hill_climb(&images, (current, flux), above.into_iter());
    let down = hill_climb(&images, (current, flux), below.into_iter().rev());
    let (threshold, maximum) = if down.1 > up.1 { down } else { up };
    let longest = thresholds().map(|threshold| flux_at(&images, threshold).1).fold(0.0, f64::max);
    (maximum > 0.0 && maximum >= MIN_FLUX * longest && maximum > MIN_GAIN * flux).then_some(threshold)
}

/// Follows `thresholds` in order until the flux falls, and returns the threshold and the flux of the maximum.
///
/// A fall by less than the square root of the contour length is attributed to noise and does not end the search.
fn hill_climb(images: &[&Flux], start: (f64, f64), thresholds: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut highest = start;
    for threshold in thresholds {
        let (flux, length) = flux_at(images, threshold);
        if flux < highest.1 - length.sqrt() {
            break;
        }
        if flux > highest.1 {
            highest = (threshold, flux);
        }
    }
    highest
}

#[cfg(test)]
mod tests {
    use models::plane::Plane;

    use super::*;
    use crate::alignment::Density;
    use crate::alignment::synthetic::{dark_and_pale, disc, noise};
    use crate::data::RgbImage;

    /// Climbs from threshold 1, at which there is no contour.
    fn best_threshold<'a>(images: impl IntoIterator<Item = &'a Flux>) -> Option<f64> {
        clearly_better_threshold(images, 1.0)
    }

    #[test]
    fn the_best_threshold_is_the_probability_at_the_border() {
        for at_border in [0.3f32, 0.5, 0.8] {
            let (image, levels) = disc(at_border);
            let found = best_threshold([&Flux::of(&levels, &Density::of(&image))]).unwrap();
            assert!((found - f64::from(at_border)).abs() <= 0.1, "{found} at {at_border}");
        }
    }

    /// Covers dark on light, bright on dark, and an image that is dark on the whole although its background is the lighter part.
    #[test]
    fn the_contrast_polarity_does_not_matter() {
        let (image, levels) = disc(0.3);
        let recoloured = |inside: u8, outside: u8| {
            let data = image.data.iter().map(|&v| if v > 100 { inside } else { outside }).collect();
            best_threshold([&Flux::of(&levels, &Density::of(&RgbImage::new(64, 64, data).unwrap()))])
        };
        let expected = recoloured(200, 20);
        assert!(expected.is_some());
        for (inside, outside) in [(40, 220), (20, 110), (140, 230)] {
            assert_eq!(recoloured(inside, outside), expected, "{inside} on {outside}");
        }
    }

    #[test]
    fn images_without_contours_are_inconclusive_and_do_not_change_the_result() {
        let (image, levels) = disc(0.8);
        let density = Density::of(&image);
        let empty = Flux::of(&levels.map(|_| 0), &density);
        let disc = Flux::of(&levels, &density);
        assert_eq!(best_threshold([&empty]), None);
        assert_eq!(best_threshold([]), None);
        assert_eq!(best_threshold([&empty, &empty, &disc]), best_threshold([&disc]));
    }

    #[test]
    fn only_a_clear_gain_moves_the_threshold() {
        let (image, levels) = disc(0.8);
        let flux = Flux::of(&levels, &Density::of(&image));
        let best = best_threshold([&flux]).unwrap();
        assert_eq!(clearly_better_threshold([&flux], 0.2), Some(best));
        assert_eq!(clearly_better_threshold([&flux], best), None);
        assert_eq!(clearly_better_threshold([], 0.5), None);
    }

    /// The outline of the cell around a nucleus has more flux than the nucleus, but lies beyond levels whose contours follow neither.
    #[test]
    fn the_search_does_not_cross_a_minimum_of_the_flux() {
        let (width, height) = (96, 96);
        let distance = |i: usize| ((i % width) as f32 - 47.5).hypot((i / width) as f32 - 47.5);
        let rings = |inside: [(f32, u8); 4], background: u8| -> Vec<u8> {
            (0..width * height).map(|i| inside.iter().find(|(radius, _)| distance(i) < *radius).map_or(background, |(_, v)| *v)).collect()
        };
        let image = rings([(10.0, 60), (12.0, 150), (20.0, 150), (40.0, 150)], 240);
        let density = Density::of(&RgbImage::new(width, height, image.iter().flat_map(|v| [*v; 3]).collect()).unwrap());
        let data = rings([(10.0, 250), (12.0, 140), (20.0, 100), (40.0, 60)], 5);
        let flux = Flux::of(&Plane { width, height, data }, &density);
        assert_eq!(clearly_better_threshold([&flux], 0.1), None, "the outline of the cell has the maximum");
        let found = clearly_better_threshold([&flux], 0.5).expect("the nucleus has a local maximum");
        assert!(found > 0.54, "{found} does not outline the nucleus");
    }

    #[test]
    fn noise_is_inconclusive() {
        let (image, levels) = noise();
        assert_eq!(best_threshold([&Flux::of(&levels, &Density::of(&image))]), None);
    }

    /// The higher threshold keeps only the dark nucleus and has the stronger edges on average, but the lower flux.
    #[test]
    fn pale_nuclei_with_weak_edges_are_kept() {
        let (image, levels) = dark_and_pale();
        let found = best_threshold([&Flux::of(&levels, &Density::of(&image))]).unwrap();
        assert!(found < 130.0 / 255.0, "{found} loses the pale nucleus");
    }
}

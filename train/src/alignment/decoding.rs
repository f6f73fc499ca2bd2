//! The threshold to decode a network by that has seen no masks: where most of the images' change flows through the contours.

use models::decode::Decoding;

use super::{Flux, thresholds};

/// The least flux that says something, for a pixel of the longest contours: it is 1 to 8 on real images, and around 0 on noise.
const LEAST: f64 = 0.1;

/// How much larger a flux must be to be clearly better. Networks that were trained on aligned labels are within a tenth of the most at .5, where
/// the highest flux may be at a worse threshold as well as at a better one.
const CLEARLY: f64 = 1.1;

/// Over all images at a threshold: the flux through the contours, and their length in pixels.
fn at(images: &[&Flux], threshold: f64) -> (f64, f64) {
    let level = usize::from(Decoding { threshold, ..Decoding::default() }.first_foreground_level());
    (images.iter().map(|image| image.through[level]).sum(), images.iter().map(|image| image.length[level]).sum::<i64>() as f64)
}

/// The threshold that is worth decoding by instead of `now`: where the flux through the contours of all images is highest on the way up or
/// down from there, before it falls, if it is a tenth more than at `now`. Beyond such a valley contours may be those of other things: of whole
/// cells, whose outlines are longer than those of their nuclei. `None` where nothing is clearly better, and where the images say nothing: no flux
/// is above a tenth of the length of the longest contours.
pub fn clearly_better_threshold<'a>(images: impl IntoIterator<Item = &'a Flux>, now: f64) -> Option<f64> {
    let images: Vec<&Flux> = images.into_iter().collect();
    let (here, _) = at(&images, now);
    let (above, below): (Vec<f64>, Vec<f64>) = thresholds().filter(|threshold| *threshold != now).partition(|threshold| *threshold > now);
    let up = climb(&images, (now, here), above.into_iter());
    let down = climb(&images, (now, here), below.into_iter().rev());
    let (threshold, most) = if down.1 > up.1 { down } else { up };
    let longest = thresholds().map(|threshold| at(&images, threshold).1).fold(0.0, f64::max);
    (most > 0.0 && most >= LEAST * longest && most > CLEARLY * here).then_some(threshold)
}

/// Of these thresholds, one after the other until the flux falls, the one where it is highest, and that flux. What falls by less than the root of
/// the contours' length is what chance lets flow.
fn climb(images: &[&Flux], from: (f64, f64), thresholds: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut highest = from;
    for threshold in thresholds {
        let (flux, length) = at(images, threshold);
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
    use crate::alignment::pictures::{dark_and_pale, disc, noise};
    use crate::data::RgbImage;

    /// The best, from where there is nothing.
    fn best_threshold<'a>(images: impl IntoIterator<Item = &'a Flux>) -> Option<f64> {
        clearly_better_threshold(images, 1.0)
    }

    #[test]
    fn the_threshold_is_the_probability_at_the_border() {
        for half in [0.3f32, 0.5, 0.8] {
            let (image, levels) = disc(half);
            let found = best_threshold([&Flux::of(&levels, &Density::of(&image))]).unwrap();
            assert!((found - f64::from(half)).abs() <= 0.1, "{found} at {half}");
        }
    }

    /// Dark nuclei on light ground and bright ones on dark ground, and the same in an image that is dark although its ground is the lighter.
    #[test]
    fn which_of_the_two_is_denser_does_not_matter() {
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
    fn images_without_contours_say_nothing() {
        let (image, levels) = disc(0.8);
        let density = Density::of(&image);
        let empty = Flux::of(&levels.map(|_| 0), &density);
        let disc = Flux::of(&levels, &density);
        assert_eq!(best_threshold([&empty]), None);
        assert_eq!(best_threshold([]), None);
        assert_eq!(best_threshold([&empty, &empty, &disc]), best_threshold([&disc]));
    }

    #[test]
    fn only_a_clear_gain_moves_a_threshold() {
        let (image, levels) = disc(0.8);
        let flux = Flux::of(&levels, &Density::of(&image));
        let best = best_threshold([&flux]).unwrap();
        assert_eq!(clearly_better_threshold([&flux], 0.2), Some(best));
        assert_eq!(clearly_better_threshold([&flux], best), None);
        assert_eq!(clearly_better_threshold([], 0.5), None);
    }

    /// A cell around a nucleus, whose outline has more flux than the nucleus has: beyond levels whose contours follow neither.
    #[test]
    fn a_valley_is_not_crossed() {
        let (width, height) = (96, 96);
        let distance = |i: usize| ((i % width) as f32 - 47.5).hypot((i / width) as f32 - 47.5);
        let rings = |inside: [(f32, u8); 4], ground: u8| -> Vec<u8> {
            (0..width * height).map(|i| inside.iter().find(|(radius, _)| distance(i) < *radius).map_or(ground, |(_, v)| *v)).collect()
        };
        let image = rings([(10.0, 60), (12.0, 150), (20.0, 150), (40.0, 150)], 240);
        let density = Density::of(&RgbImage::new(width, height, image.iter().flat_map(|v| [*v; 3]).collect()).unwrap());
        let data = rings([(10.0, 250), (12.0, 140), (20.0, 100), (40.0, 60)], 5);
        let flux = Flux::of(&Plane { width, height, data }, &density);
        assert_eq!(clearly_better_threshold([&flux], 0.1), None, "the cell's outline has most");
        let found = clearly_better_threshold([&flux], 0.5).expect("the nucleus has more than its surroundings");
        assert!(found > 0.54, "{found} is not the nucleus");
    }

    /// Through contours in noise flows what chance lets flow.
    #[test]
    fn noise_says_nothing() {
        let (image, levels) = noise();
        assert_eq!(best_threshold([&Flux::of(&levels, &Density::of(&image))]), None);
    }

    /// A dark nucleus that the network is sure of and a pale one that it is not: edges are stronger on average at the higher threshold.
    #[test]
    fn pale_nuclei_count_although_their_edges_are_weak() {
        let (image, levels) = dark_and_pale();
        let found = best_threshold([&Flux::of(&levels, &Density::of(&image))]).unwrap();
        assert!(found < 130.0 / 255.0, "{found} loses the pale one");
    }
}

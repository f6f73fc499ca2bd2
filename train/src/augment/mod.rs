//! Data augmentation: random crop, shift-scale-rotate, flips, colour augmentation and normalisation, in the order of the papers.
//!
//! Scribbles and pseudo-label maps undergo the same geometric transforms as their image. All random numbers come from the [`CounterRng`] of
//! the caller, so that a patch depends only on the seed, the step and the sample.

mod affine;
mod colour;
mod stain;

use models::card::Normalisation;
use models::plane::{Plane, reflect_101};

pub use affine::{Affine, warp_bilinear, warp_nearest};
pub use colour::contrast_table;

use crate::config::ColourAugmentation;
use crate::data::RgbImage;
use crate::rng::CounterRng;

/// Augmented square training patch: image, scribbles and pseudo-labels with the same geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Normalised image, `3 crop crop`, red first.
    pub image: Vec<f32>,
    /// Scribble map, `crop crop`: 0 background, 1 foreground, 250 unlabelled.
    pub scribble: Plane<u8>,
    /// Pseudo-label map, `crop crop`: foreground probability from 0 to 1. `None` if the caller passed none.
    pub soft: Option<Plane<f32>>,
}

/// Parameters of the augmentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AugmentConfig {
    /// Side of the patch, in pixels.
    pub crop: usize,
    /// Kind of colour augmentation.
    pub colour: ColourAugmentation,
    /// Limit of `|log2(gamma)|` of the gamma curves; 0 disables them.
    pub gamma: f64,
    /// Limit of the scale change: patches are scaled by factors of `1 +- zoom`.
    pub zoom: f64,
    /// Per-channel mean and standard deviation of the network's input.
    pub normalisation: Normalisation,
}

/// Cuts a random patch out of the image and augments it.
///
/// Images smaller than the crop are padded on the right and at the bottom by reflection (reflect-101).
///
/// # Panics
/// If `scribble` or `soft` is not of the image's size.
pub fn augment(image: &RgbImage, scribble: &Plane<u8>, soft: Option<&Plane<f32>>, config: &AugmentConfig, rng: &mut CounterRng) -> Patch {
    let size = (image.width, image.height);
    assert_eq!((scribble.width, scribble.height), size, "scribbles of the image's size");
    assert!(soft.is_none_or(|map| (map.width, map.height) == size), "a pseudo-label map of the image's size");
    let (crop, colour) = (config.crop, config.colour.of(image));
    let offset = |length: usize, rng: &mut CounterRng| (length.saturating_sub(crop) as f64 * rng.uniform()) as usize;
    let (top, left) = (offset(image.height, rng), offset(image.width, rng));
    let mut image = crop_image(image, left, top, crop);
    let mut scribble = crop_map(scribble, left, top, crop);
    let mut soft = soft.map(|map| crop_map(map, left, top, crop));
    if rng.bool(0.7) {
        let transform = shift_scale_rotate(crop, config.zoom, rng);
        image = warp_bilinear(&image, transform);
        scribble = warp_nearest(&scribble, transform);
        soft = soft.map(|soft| warp_nearest(&soft, transform));
    }
    for flip in [Flip::Horizontal, Flip::Vertical] {
        if rng.bool(0.5) {
            flip.apply(image.data.as_chunks_mut::<3>().0, crop);
            flip.apply(&mut scribble.data, crop);
            if let Some(soft) = &mut soft {
                flip.apply(&mut soft.data, crop);
            }
        }
    }
    if rng.bool(0.5) {
        match colour {
            ColourAugmentation::Auto => unreachable!("`of` resolves `auto`"),
            ColourAugmentation::Brightness => colour::brightness_contrast(&mut image, rng),
            ColourAugmentation::ColourJitter => colour::jitter(&mut image, rng),
            ColourAugmentation::StainJitter => stain::jitter(&mut image, rng),
        }
    }
    if config.gamma > 0.0 && rng.bool(0.5) {
        colour::gamma(&mut image, config.gamma, rng);
    }
    Patch { image: normalise(&image, &config.normalisation), scribble, soft }
}

/// Draws a transform about the patch's centre: shift +-.0625 of the side, scale 1 +- `zoom`, rotation +-45 degrees.
fn shift_scale_rotate(crop: usize, zoom: f64, rng: &mut CounterRng) -> Affine {
    let degrees = rng.range(-45.0, 45.0);
    let scale = rng.range(1.0 - zoom, 1.0 + zoom);
    let shift = [rng.range(-0.0625, 0.0625), rng.range(-0.0625, 0.0625)];
    Affine::about_centre(crop, crop, degrees, scale, shift)
}

/// Normalises an image to `(v / 255 - mean) / std`: `height width 3` u8 to `3 height width` f32.
pub fn normalise(image: &RgbImage, normalisation: &Normalisation) -> Vec<f32> {
    let count = image.width * image.height;
    let mut planes = vec![0.0; 3 * count];
    for (channel, plane) in planes.chunks_exact_mut(count.max(1)).enumerate() {
        let table = normalise_table(normalisation, channel);
        for (out, pixel) in plane.iter_mut().zip(image.data.as_chunks::<3>().0) {
            *out = table[usize::from(pixel[channel])];
        }
    }
    planes
}

/// Returns the normalised value of every u8 value of a channel.
pub fn normalise_table(normalisation: &Normalisation, channel: usize) -> [f32; 256] {
    let (mean, std) = (f64::from(normalisation.mean[channel]), f64::from(normalisation.std[channel]));
    std::array::from_fn(|v| ((v as f64 / 255.0 - mean) / std) as f32)
}

/// Cuts a `crop x crop` patch out of an image.
fn crop_image(image: &RgbImage, left: usize, top: usize, crop: usize) -> RgbImage {
    let data = crop_items(image.data.as_chunks::<3>().0, image.width, image.height, left, top, crop);
    RgbImage { width: crop, height: crop, data: data.into_flattened() }
}

/// Cuts a `crop x crop` patch out of a map.
fn crop_map<T: Copy>(map: &Plane<T>, left: usize, top: usize, crop: usize) -> Plane<T> {
    Plane { width: crop, height: crop, data: crop_items(&map.data, map.width, map.height, left, top, crop) }
}

/// Copies the `crop x crop` items from (`left`, `top`) on, reflecting indices beyond the right and the lower border (reflect-101).
fn crop_items<T: Copy>(items: &[T], width: usize, height: usize, left: usize, top: usize, crop: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(crop * crop);
    for y in top..top + crop {
        let row = &items[reflect_101(y as isize, height) * width..][..width];
        let inside = (left + crop).min(width);
        out.extend_from_slice(&row[left..inside]);
        out.extend((inside..left + crop).map(|x| row[reflect_101(x as isize, width)]));
    }
    out
}

/// Mirror axis of a flip.
#[derive(Clone, Copy)]
enum Flip {
    Horizontal,
    Vertical,
}

impl Flip {
    /// Flips a square of `side x side` items in place.
    fn apply<T>(self, items: &mut [T], side: usize) {
        match self {
            Self::Horizontal => items.chunks_exact_mut(side).for_each(<[T]>::reverse),
            Self::Vertical => {
                let (upper, rest) = items.split_at_mut(side / 2 * side);
                upper.chunks_exact_mut(side).zip(rest.chunks_exact_mut(side).rev()).for_each(|(a, b)| a.swap_with_slice(b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(width: usize, height: usize) -> (RgbImage, Plane<u8>, Plane<f32>) {
        let map = Plane { width, height, data: (0..width * height).map(|i| (i % 251) as u8).collect() };
        let image = RgbImage::new(width, height, map.data.iter().flat_map(|&v| [v, v, v]).collect()).unwrap();
        let soft = map.map(|&v| f32::from(v));
        (image, map, soft)
    }

    const CONFIG: AugmentConfig =
        AugmentConfig { crop: 32, colour: ColourAugmentation::Brightness, gamma: 0.5, zoom: 0.1, normalisation: Normalisation::IMAGENET };

    #[test]
    fn label_maps_follow_the_image_and_equal_keys_give_equal_patches() {
        for (width, height) in [(64, 40), (20, 100), (32, 32), (1, 1), (5, 9)] {
            let (image, map, soft) = sample(width, height);
            for i in 0..20 {
                let patch = augment(&image, &map, Some(&soft), &CONFIG, &mut CounterRng::new(1, "augment", 0, 0, i));
                assert_eq!(patch.scribble.map(|&v| f32::from(v)), *patch.soft.as_ref().unwrap());
                assert_eq!(patch, augment(&image, &map, Some(&soft), &CONFIG, &mut CounterRng::new(1, "augment", 0, 0, i)));
                let without = augment(&image, &map, None, &CONFIG, &mut CounterRng::new(1, "augment", 0, 0, i));
                assert_eq!((without.image, without.scribble), (patch.image, patch.scribble));
            }
        }
    }

    #[test]
    fn small_images_are_padded_by_reflection() {
        let items: Vec<u8> = (0..6).collect();
        let cropped = crop_items(&items, 3, 2, 0, 0, 4);
        assert_eq!(cropped, [0, 1, 2, 1, 3, 4, 5, 4, 0, 1, 2, 1, 3, 4, 5, 4]);
        assert_eq!(crop_items(&items, 3, 2, 1, 0, 2), [1, 2, 4, 5]);
    }

    #[test]
    fn flips_reverse_rows_or_columns() {
        let flipped = |flip: Flip| {
            let mut items: Vec<u8> = (0..9).collect();
            flip.apply(&mut items, 3);
            items
        };
        assert_eq!(flipped(Flip::Horizontal), [2, 1, 0, 5, 4, 3, 8, 7, 6]);
        assert_eq!(flipped(Flip::Vertical), [6, 7, 8, 3, 4, 5, 0, 1, 2]);
    }

    #[test]
    fn a_transform_and_its_inverse_cancel() {
        let transform = Affine::about_centre(30, 40, 17.0, 1.1, [0.05, -0.02]);
        let Affine([[a, b, c], [d, e, f]]) = transform.inverse();
        let apply = |x: f64, y: f64, m: [[f64; 3]; 2]| [m[0][0] * x + m[0][1] * y + m[0][2], m[1][0] * x + m[1][1] * y + m[1][2]];
        let [x, y] = apply(3.0, 5.0, transform.0);
        let back = apply(x, y, [[a, b, c], [d, e, f]]);
        assert!((back[0] - 3.0).abs() < 1e-12 && (back[1] - 5.0).abs() < 1e-12, "{back:?}");
    }

    #[test]
    #[ignore = "a measurement: cargo test --release -p train -- --ignored --nocapture augmentation_time_per_patch"]
    fn augmentation_time_per_patch() {
        for colour in [ColourAugmentation::Brightness, ColourAugmentation::ColourJitter, ColourAugmentation::StainJitter] {
            let (image, map, soft) = sample(520, 400);
            let config = AugmentConfig { crop: 256, colour, ..CONFIG };
            let start = std::time::Instant::now();
            for i in 0..400 {
                std::hint::black_box(augment(&image, &map, Some(&soft), &config, &mut CounterRng::new(1, "augment", 0, 0, i)));
            }
            println!("{colour}: {:.3} ms per patch of 256 x 256", start.elapsed().as_secs_f64() / 400.0 * 1e3);
        }
    }
}

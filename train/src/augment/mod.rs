//! From a sample to a training patch: crop, shift-scale-rotate, flips, colours, normalisation (method of the papers, in that order).
//!
//! Pseudo-label maps and scribbles move with the image. Every draw comes from the [`CounterRng`] that is passed in.

mod affine;
mod colour;
mod stain;

use models::card::Normalisation;
use models::plane::{Plane, reflect_101};

pub use affine::{Affine, warp_image, warp_map};
pub use colour::contrast_table;

use crate::config::ColourChange;
use crate::data::RgbImage;
use crate::rng::CounterRng;

/// What the network is fed: square, all parts of one geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// `3 crop crop`, normalised, red first.
    pub image: Vec<f32>,
    /// 0 background, 1 foreground, 250 unlabelled.
    pub scribble: Plane<u8>,
    /// The pseudo-label map, where one was given.
    pub soft: Option<Plane<f32>>,
}

/// How patches are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Side of the patch in pixels.
    pub crop: usize,
    /// How colours are varied.
    pub colour: ColourChange,
    /// Largest `log2` of the exponent of brightness curves; 0 for none.
    pub gamma: f64,
    /// Largest share by which a patch is enlarged or shrunk.
    pub zoom: f64,
    /// How u8 values become the network's input.
    pub normalisation: Normalisation,
}

/// Cuts a random patch and varies it; images smaller than the crop are continued to the right and below by reflection (reflect-101).
///
/// `scribble` and `soft` have the image's size.
pub fn augment(image: &RgbImage, scribble: &Plane<u8>, soft: Option<&Plane<f32>>, recipe: &Recipe, draw: &mut CounterRng) -> Patch {
    let size = (image.width, image.height);
    assert_eq!((scribble.width, scribble.height), size, "scribbles of the image's size");
    assert!(soft.is_none_or(|map| (map.width, map.height) == size), "a pseudo-label map of the image's size");
    let (crop, colour) = (recipe.crop, recipe.colour.of(image));
    let offset = |length: usize, draw: &mut CounterRng| (length.saturating_sub(crop) as f64 * draw.uniform()) as usize;
    let (top, left) = (offset(image.height, draw), offset(image.width, draw));
    let mut image = crop_image(image, left, top, crop);
    let mut scribble = crop_map(scribble, left, top, crop);
    let mut soft = soft.map(|map| crop_map(map, left, top, crop));
    if draw.bool(0.7) {
        let map = shift_scale_rotate(crop, recipe.zoom, draw);
        image = warp_image(&image, map);
        scribble = warp_map(&scribble, map);
        soft = soft.map(|soft| warp_map(&soft, map));
    }
    for flip in [Flip::Horizontal, Flip::Vertical] {
        if draw.bool(0.5) {
            flip.apply(image.data.as_chunks_mut::<3>().0, crop);
            flip.apply(&mut scribble.data, crop);
            if let Some(soft) = &mut soft {
                flip.apply(&mut soft.data, crop);
            }
        }
    }
    if draw.bool(0.5) {
        match colour {
            ColourChange::Auto => unreachable!("no image's own"),
            ColourChange::Brightness => colour::brightness_contrast(&mut image, draw),
            ColourChange::ColourJitter => colour::jitter(&mut image, draw),
            ColourChange::StainJitter => stain::jitter(&mut image, draw),
        }
    }
    if recipe.gamma > 0.0 && draw.bool(0.5) {
        colour::gamma(&mut image, recipe.gamma, draw);
    }
    Patch { image: normalise(&image, &recipe.normalisation), scribble, soft }
}

fn shift_scale_rotate(crop: usize, zoom: f64, draw: &mut CounterRng) -> Affine {
    let degrees = draw.range(-45.0, 45.0);
    let scale = draw.range(1.0 - zoom, 1.0 + zoom);
    let shift = [draw.range(-0.0625, 0.0625), draw.range(-0.0625, 0.0625)];
    Affine::about_centre(crop, crop, degrees, scale, shift)
}

/// `(v / 255 - mean) / std` as planes: `height x width x 3` u8 to `3 height width` f32, through a table.
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

/// The network's input for every u8 value of a channel.
pub fn normalise_table(normalisation: &Normalisation, channel: usize) -> [f32; 256] {
    let (mean, std) = (f64::from(normalisation.mean[channel]), f64::from(normalisation.std[channel]));
    std::array::from_fn(|v| ((v as f64 / 255.0 - mean) / std) as f32)
}

fn crop_image(image: &RgbImage, left: usize, top: usize, crop: usize) -> RgbImage {
    let data = crop_items(image.data.as_chunks::<3>().0, image.width, image.height, left, top, crop);
    RgbImage { width: crop, height: crop, data: data.into_flattened() }
}

fn crop_map<T: Copy>(map: &Plane<T>, left: usize, top: usize, crop: usize) -> Plane<T> {
    Plane { width: crop, height: crop, data: crop_items(&map.data, map.width, map.height, left, top, crop) }
}

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

#[derive(Clone, Copy)]
enum Flip {
    Horizontal,
    Vertical,
}

impl Flip {
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

    const RECIPE: Recipe =
        Recipe { crop: 32, colour: ColourChange::Brightness, gamma: 0.5, zoom: 0.1, normalisation: Normalisation::IMAGENET };

    #[test]
    fn maps_move_together_and_draws_repeat() {
        for (width, height) in [(64, 40), (20, 100), (32, 32), (1, 1), (5, 9)] {
            let (image, map, soft) = sample(width, height);
            for i in 0..20 {
                let patch = augment(&image, &map, Some(&soft), &RECIPE, &mut CounterRng::new(1, "augment", 0, 0, i));
                assert_eq!(patch.scribble.map(|&v| f32::from(v)), *patch.soft.as_ref().unwrap());
                assert_eq!(patch, augment(&image, &map, Some(&soft), &RECIPE, &mut CounterRng::new(1, "augment", 0, 0, i)));
                let without = augment(&image, &map, None, &RECIPE, &mut CounterRng::new(1, "augment", 0, 0, i));
                assert_eq!((without.image, without.scribble), (patch.image, patch.scribble));
            }
        }
    }

    #[test]
    fn small_images_continue_by_reflection() {
        let items: Vec<u8> = (0..6).collect();
        let cropped = crop_items(&items, 3, 2, 0, 0, 4);
        assert_eq!(cropped, [0, 1, 2, 1, 3, 4, 5, 4, 0, 1, 2, 1, 3, 4, 5, 4]);
        assert_eq!(crop_items(&items, 3, 2, 1, 0, 2), [1, 2, 4, 5]);
    }

    #[test]
    fn flips_turn_rows_and_columns() {
        let flipped = |flip: Flip| {
            let mut items: Vec<u8> = (0..9).collect();
            flip.apply(&mut items, 3);
            items
        };
        assert_eq!(flipped(Flip::Horizontal), [2, 1, 0, 5, 4, 3, 8, 7, 6]);
        assert_eq!(flipped(Flip::Vertical), [6, 7, 8, 3, 4, 5, 0, 1, 2]);
    }

    #[test]
    fn a_map_and_its_inverse_cancel() {
        let map = Affine::about_centre(30, 40, 17.0, 1.1, [0.05, -0.02]);
        let Affine([[a, b, c], [d, e, f]]) = map.inverse();
        let there = |x: f64, y: f64, m: [[f64; 3]; 2]| [m[0][0] * x + m[0][1] * y + m[0][2], m[1][0] * x + m[1][1] * y + m[1][2]];
        let [x, y] = there(3.0, 5.0, map.0);
        let back = there(x, y, [[a, b, c], [d, e, f]]);
        assert!((back[0] - 3.0).abs() < 1e-12 && (back[1] - 5.0).abs() < 1e-12, "{back:?}");
    }

    #[test]
    #[ignore = "a measurement: cargo test --release -p train -- --ignored --nocapture patches_a_second"]
    fn patches_a_second() {
        for colour in [ColourChange::Brightness, ColourChange::ColourJitter, ColourChange::StainJitter] {
            let (image, map, soft) = sample(520, 400);
            let recipe = Recipe { crop: 256, colour, ..RECIPE };
            let start = std::time::Instant::now();
            for i in 0..400 {
                std::hint::black_box(augment(&image, &map, Some(&soft), &recipe, &mut CounterRng::new(1, "augment", 0, 0, i)));
            }
            println!("{colour}: {:.3} ms a patch of 256", start.elapsed().as_secs_f64() / 400.0 * 1e3);
        }
    }
}

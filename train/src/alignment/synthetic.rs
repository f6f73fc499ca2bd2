//! Synthetic images and probability maps for the tests of edge alignment.

use models::plane::Plane;

use crate::data::RgbImage;
use crate::rng::CounterRng;

/// Returns a bright disc of radius 10 px in a dark image of 64 x 64 px, and probabilities that fall with the distance from its centre and
/// are `at_border` at its border.
pub fn disc(at_border: f32) -> (RgbImage, Plane<u8>) {
    let distance = |i: usize| ((i % 64) as f32 - 31.5).hypot((i / 64) as f32 - 31.5);
    let image = (0..64 * 64).flat_map(|i| [if distance(i) < 10.0 { 200 } else { 20 }; 3]).collect();
    let logit = (at_border / (1.0 - at_border)).ln();
    let p = |i: usize| 1.0 / (1.0 + (-(logit + 0.5 * (10.0 - distance(i)))).exp());
    let levels = (0..64 * 64).map(|i| models::decode::quantise(p(i))).collect();
    (RgbImage::new(64, 64, image).unwrap(), Plane { width: 64, height: 64, data: levels })
}

/// Returns a step edge of 32 x 8 px: grey value `left` in the left half, `right` in the right half.
pub fn step(left: u8, right: u8) -> RgbImage {
    let row = (0..32).flat_map(|x| [if x < 16 { left } else { right }; 3]);
    RgbImage::new(32, 8, row.collect::<Vec<u8>>().repeat(8)).unwrap()
}

/// Returns uniform noise as the image and independent uniform noise as the probabilities.
pub fn noise() -> (RgbImage, Plane<u8>) {
    let mut rng = CounterRng::new(3, "noise", 0, 0, 0);
    let image = RgbImage::new(96, 96, (0..3 * 96 * 96).map(|_| rng.below(256) as u8).collect()).unwrap();
    (image, Plane { width: 96, height: 96, data: (0..96 * 96).map(|_| rng.below(256) as u8).collect() })
}

/// Returns an image of a dark and a pale nucleus, the dark one with high, the pale one with low confidence in the probabilities.
pub fn dark_and_pale() -> (RgbImage, Plane<u8>) {
    let (width, height) = (96, 48);
    let inside = |i: usize, cx: f32| ((i % width) as f32 - cx).hypot((i / width) as f32 - 24.0) < 12.0;
    let values = |dark: u8, pale: u8, background: u8| {
        move |i| {
            if inside(i, 24.0) {
                dark
            } else if inside(i, 72.0) {
                pale
            } else {
                background
            }
        }
    };
    let image = (0..width * height).map(values(60, 150, 230)).flat_map(|v| [v; 3]).collect();
    let levels = (0..width * height).map(values(240, 130, 5)).collect();
    (RgbImage::new(width, height, image).unwrap(), Plane { width, height, data: levels })
}

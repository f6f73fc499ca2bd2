//! Images and probabilities that the tests here draw.

use models::plane::Plane;

use crate::data::RgbImage;
use crate::rng::CounterRng;

/// A bright disc of radius 10 in a dark image of 64 x 64, and probabilities that fall with the distance from its centre: `half` at
/// its border.
pub fn disc(half: f32) -> (RgbImage, Plane<u8>) {
    let distance = |i: usize| ((i % 64) as f32 - 31.5).hypot((i / 64) as f32 - 31.5);
    let image = (0..64 * 64).flat_map(|i| [if distance(i) < 10.0 { 200 } else { 20 }; 3]).collect();
    let logit = (half / (1.0 - half)).ln();
    let p = |i: usize| 1.0 / (1.0 + (-(logit + 0.5 * (10.0 - distance(i)))).exp());
    let levels = (0..64 * 64).map(|i| models::decode::quantise(p(i))).collect();
    (RgbImage::new(64, 64, image).unwrap(), Plane { width: 64, height: 64, data: levels })
}

/// Half of the image `left`, the other half `right`.
pub fn step(left: u8, right: u8) -> RgbImage {
    let row = (0..32).flat_map(|x| [if x < 16 { left } else { right }; 3]);
    RgbImage::new(32, 8, row.collect::<Vec<u8>>().repeat(8)).unwrap()
}

/// Noise in both.
pub fn noise() -> (RgbImage, Plane<u8>) {
    let mut draw = CounterRng::new(3, "noise", 0, 0, 0);
    let image = RgbImage::new(96, 96, (0..3 * 96 * 96).map(|_| draw.below(256) as u8).collect()).unwrap();
    (image, Plane { width: 96, height: 96, data: (0..96 * 96).map(|_| draw.below(256) as u8).collect() })
}

/// A dark nucleus that the network is sure of and a pale one that it is not.
pub fn dark_and_pale() -> (RgbImage, Plane<u8>) {
    let (width, height) = (96, 48);
    let inside = |i: usize, cx: f32| ((i % width) as f32 - cx).hypot((i / width) as f32 - 24.0) < 12.0;
    let of = |dark: u8, pale: u8, ground: u8| {
        move |i| {
            if inside(i, 24.0) {
                dark
            } else if inside(i, 72.0) {
                pale
            } else {
                ground
            }
        }
    };
    let image = (0..width * height).map(of(60, 150, 230)).flat_map(|v| [v; 3]).collect();
    let levels = (0..width * height).map(of(240, 130, 5)).collect();
    (RgbImage::new(width, height, image).unwrap(), Plane { width, height, data: levels })
}

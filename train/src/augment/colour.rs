//! Colour: brightness and contrast as a table, or brightness, contrast, saturation and hue in random order.

use crate::data::RgbImage;
use crate::rng::CounterRng;

/// `v (1 + contrast) + 255 brightness`, clipped to 0..=255 and truncated, for every v.
pub fn contrast_table(contrast: f64, brightness: f64) -> [u8; 256] {
    std::array::from_fn(|v| (v as f64 * (1.0 + contrast) + 255.0 * brightness).clamp(0.0, 255.0) as u8)
}

/// Brightness and contrast, each by up to .2.
pub(super) fn brightness_contrast(image: &mut RgbImage, draw: &mut CounterRng) {
    let table = contrast_table(draw.range(-0.2, 0.2), draw.range(-0.2, 0.2));
    image.data.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

/// `255 (v / 255)^gamma`, rounded, with `log2(gamma)` uniform within `+-limit`: dim and bright exposures of the same scene.
pub(super) fn gamma(image: &mut RgbImage, limit: f64, draw: &mut CounterRng) {
    let table = gamma_table(draw.range(-limit, limit).exp2());
    image.data.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

fn gamma_table(gamma: f64) -> [u8; 256] {
    std::array::from_fn(|v| (255.0 * (v as f64 / 255.0).powf(gamma)).round() as u8)
}

/// Brightness, contrast and saturation by factors of 1 +- .2, hue by up to .2 turns, in random order, truncated to u8 after each.
pub(super) fn jitter(image: &mut RgbImage, draw: &mut CounterRng) {
    for step in draw.permutation(4) {
        let change = draw.range(-0.2, 0.2) as f32;
        match step {
            0 => towards(image, change, |_| 0.0),
            1 => {
                let pixels = image.data.as_chunks::<3>().0;
                let mean = pixels.iter().map(|&p| f64::from(grey(p))).sum::<f64>() / pixels.len() as f64;
                towards(image, change, |_| mean as f32);
            }
            2 => towards(image, change, |pixel| f32::from(grey(pixel))),
            _ => image.data.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = turn_hue(*pixel, change)),
        }
    }
}

/// Moves every value away from (or, for a negative change, towards) the grey level that `anchor` gives its pixel.
fn towards(image: &mut RgbImage, change: f32, anchor: impl Fn([u8; 3]) -> f32) {
    for pixel in image.data.as_chunks_mut::<3>().0 {
        let anchor = anchor(*pixel) * -change;
        *pixel = pixel.map(|v| (f32::from(v) * (1.0 + change) + anchor).clamp(0.0, 255.0) as u8);
    }
}

/// Luma of ITU-R BT.601, in 14-bit fixed point, rounded.
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((4899 * u32::from(r) + 9617 * u32::from(g) + 1868 * u32::from(b) + (1 << 13)) >> 14) as u8
}

/// Turns the hue by a share of the circle; value and saturation stay.
fn turn_hue(pixel: [u8; 3], turns: f32) -> [u8; 3] {
    let [r, g, b] = pixel.map(f32::from);
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let chroma = high - low;
    if chroma == 0.0 {
        return pixel;
    }
    let sextant = if high == r {
        (g - b) / chroma
    } else if high == g {
        (b - r) / chroma + 2.0
    } else {
        (r - g) / chroma + 4.0
    };
    // Red, green and blue are highest around 0, 2 and 4 sextants.
    let turned = sextant + 6.0 * (turns - turns.round());
    [0.0, 2.0, 4.0].map(|own| {
        let away = match turned - own {
            far if far > 3.0 => far - 6.0,
            far if far < -3.0 => far + 6.0,
            near => near,
        };
        (low + chroma * (2.0 - away.abs()).clamp(0.0, 1.0) + 0.5) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_the_hue_goes_round_the_colour_circle() {
        assert_eq!(turn_hue([200, 10, 10], 1.0 / 3.0), [10, 200, 10]);
        assert_eq!(turn_hue([200, 10, 10], -1.0 / 3.0), [10, 10, 200]);
        assert_eq!(turn_hue([200, 10, 10], 0.5), [10, 200, 200]);
        assert_eq!(turn_hue([7, 7, 7], 0.2), [7, 7, 7]);
        for pixel in [[1, 2, 3], [250, 3, 77], [90, 180, 20], [0, 0, 255], [120, 119, 119]] {
            assert_eq!(turn_hue(pixel, 0.0), pixel);
            assert_eq!(turn_hue(pixel, 1.0), pixel);
        }
    }

    #[test]
    fn gamma_keeps_black_white_and_order() {
        assert_eq!(gamma_table(1.0), std::array::from_fn(|v| v as u8));
        for gamma in [0.25, 0.5, 2.0, 4.0] {
            let table = gamma_table(gamma);
            assert_eq!((table[0], table[255]), (0, 255));
            assert!(table.is_sorted());
        }
        assert_eq!((gamma_table(0.5)[64], gamma_table(2.0)[64]), (128, 16));
    }

    #[test]
    fn each_jitter_step_moves_what_it_is_named_after() {
        let image = RgbImage::new(2, 1, vec![200, 110, 0, 40, 40, 40]).unwrap();
        let moved = |f: &dyn Fn(&mut RgbImage)| {
            let mut copy = image.clone();
            f(&mut copy);
            copy.data
        };
        assert_eq!(moved(&|i| towards(i, -0.5, |_| 0.0)), [100, 55, 0, 20, 20, 20]);
        assert_eq!(moved(&|i| towards(i, -1.0, |p| f32::from(grey(p)))), [124, 124, 124, 40, 40, 40]);
        assert_eq!(moved(&|i| towards(i, 0.2, |_| 40.0)), [232, 124, 0, 40, 40, 40]);
    }
}

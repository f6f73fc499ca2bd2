//! Colour augmentation: brightness and contrast by a look-up table, gamma curves, and colour jitter.

use crate::data::RgbImage;
use crate::rng::CounterRng;

/// Returns the look-up table `v (1 + contrast) + 255 brightness`, clipped to 0..=255 and truncated.
pub fn contrast_table(contrast: f64, brightness: f64) -> [u8; 256] {
    std::array::from_fn(|v| (v as f64 * (1.0 + contrast) + 255.0 * brightness).clamp(0.0, 255.0) as u8)
}

/// Changes brightness and contrast, each by a value drawn uniformly from [-.2, .2).
pub(super) fn brightness_contrast(image: &mut RgbImage, rng: &mut CounterRng) {
    let table = contrast_table(rng.range(-0.2, 0.2), rng.range(-0.2, 0.2));
    image.data.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

/// Applies the gamma curve `255 (v / 255)^gamma` with `log2(gamma)` uniform in [-`limit`, `limit`): a dimmer or brighter exposure.
pub(super) fn gamma(image: &mut RgbImage, limit: f64, rng: &mut CounterRng) {
    let table = gamma_table(rng.range(-limit, limit).exp2());
    image.data.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

/// Returns the look-up table `255 (v / 255)^gamma`, rounded.
fn gamma_table(gamma: f64) -> [u8; 256] {
    std::array::from_fn(|v| (255.0 * (v as f64 / 255.0).powf(gamma)).round() as u8)
}

/// Changes brightness, contrast and saturation by factors of 1 +- .2 and rotates the hue by up to .2 of the colour circle, in random order.
///
/// Values are truncated to u8 after each step, as the method's reference pipeline does.
pub(super) fn jitter(image: &mut RgbImage, rng: &mut CounterRng) {
    for step in rng.permutation(4) {
        let change = rng.range(-0.2, 0.2) as f32;
        match step {
            0 => extrapolate(image, change, |_| 0.0),
            1 => {
                let pixels = image.data.as_chunks::<3>().0;
                let mean = pixels.iter().map(|&p| f64::from(grey(p))).sum::<f64>() / pixels.len() as f64;
                extrapolate(image, change, |_| mean as f32);
            }
            2 => extrapolate(image, change, |pixel| f32::from(grey(pixel))),
            _ => image.data.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = rotate_hue(*pixel, change)),
        }
    }
}

/// Moves every value away from the grey level `anchor(pixel)` by the fraction `change` of its distance; a negative change moves towards it.
fn extrapolate(image: &mut RgbImage, change: f32, anchor: impl Fn([u8; 3]) -> f32) {
    for pixel in image.data.as_chunks_mut::<3>().0 {
        let anchor = anchor(*pixel) * -change;
        *pixel = pixel.map(|v| (f32::from(v) * (1.0 + change) + anchor).clamp(0.0, 255.0) as u8);
    }
}

/// Returns the luma of ITU-R BT.601, computed in 14-bit fixed point and rounded.
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((4899 * u32::from(r) + 9617 * u32::from(g) + 1868 * u32::from(b) + (1 << 13)) >> 14) as u8
}

/// Rotates the hue by a fraction of the colour circle; value and saturation (HSV) stay.
fn rotate_hue(pixel: [u8; 3], fraction: f32) -> [u8; 3] {
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
    // Red, green and blue have their maximum at hues of 0, 2 and 4 sextants.
    let rotated = sextant + 6.0 * (fraction - fraction.round());
    [0.0, 2.0, 4.0].map(|peak| {
        let distance = match rotated - peak {
            far if far > 3.0 => far - 6.0,
            far if far < -3.0 => far + 6.0,
            near => near,
        };
        (low + chroma * (2.0 - distance.abs()).clamp(0.0, 1.0) + 0.5) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hue_rotation_goes_round_the_colour_circle() {
        assert_eq!(rotate_hue([200, 10, 10], 1.0 / 3.0), [10, 200, 10]);
        assert_eq!(rotate_hue([200, 10, 10], -1.0 / 3.0), [10, 10, 200]);
        assert_eq!(rotate_hue([200, 10, 10], 0.5), [10, 200, 200]);
        assert_eq!(rotate_hue([7, 7, 7], 0.2), [7, 7, 7]);
        for pixel in [[1, 2, 3], [250, 3, 77], [90, 180, 20], [0, 0, 255], [120, 119, 119]] {
            assert_eq!(rotate_hue(pixel, 0.0), pixel);
            assert_eq!(rotate_hue(pixel, 1.0), pixel);
        }
    }

    #[test]
    fn gamma_keeps_black_white_and_the_order_of_values() {
        assert_eq!(gamma_table(1.0), std::array::from_fn(|v| v as u8));
        for gamma in [0.25, 0.5, 2.0, 4.0] {
            let table = gamma_table(gamma);
            assert_eq!((table[0], table[255]), (0, 255));
            assert!(table.is_sorted());
        }
        assert_eq!((gamma_table(0.5)[64], gamma_table(2.0)[64]), (128, 16));
    }

    #[test]
    fn each_jitter_step_changes_only_its_own_property() {
        let image = RgbImage::new(2, 1, vec![200, 110, 0, 40, 40, 40]).unwrap();
        let moved = |f: &dyn Fn(&mut RgbImage)| {
            let mut copy = image.clone();
            f(&mut copy);
            copy.data
        };
        assert_eq!(moved(&|i| extrapolate(i, -0.5, |_| 0.0)), [100, 55, 0, 20, 20, 20]);
        assert_eq!(moved(&|i| extrapolate(i, -1.0, |p| f32::from(grey(p)))), [124, 124, 124, 40, 40, 40]);
        assert_eq!(moved(&|i| extrapolate(i, 0.2, |_| 40.0)), [232, 124, 0, 40, 40, 40]);
    }
}

//! Stain jitter for hematoxylin and eosin: imitates the variation of stain uptake between laboratories, scanners and batches.
//!
//! Colour deconvolution gives the concentration of each stain, which is scaled and shifted at random before the stains are recombined
//! (Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train distilled stain-invariant
//! convolutional networks", IEEE TMI 2018).

use models::stains::{STAINS, dot};

use crate::data::RgbImage;
use crate::rng::CounterRng;

/// Limit of the relative change of a concentration: factors are `1 +- MAX_SCALE`.
const MAX_SCALE: f64 = 0.25;
/// Limit of the shift of a concentration, in optical density to base e.
const MAX_SHIFT: f64 = 0.05;

/// Scales and shifts the concentrations of hematoxylin, eosin and the residual at random, within [`MAX_SCALE`] and [`MAX_SHIFT`].
pub(super) fn jitter(image: &mut RgbImage, rng: &mut CounterRng) {
    let mut change = || (1.0 + rng.range(-MAX_SCALE, MAX_SCALE), rng.range(-MAX_SHIFT, MAX_SHIFT));
    let changes = [change(), change(), change()];
    restain(image, changes);
}

/// Applies `(factor, shift)` to the concentration of each stain.
fn restain(image: &mut RgbImage, changes: [(f64, f64); 3]) {
    let (mixing, shift) = mixing(changes);
    // A value of 255 is unstained glass, which has a density of 0.
    let density: [f32; 256] = std::array::from_fn(|v| -((v + 1) as f32 / 256.0).ln());
    for pixel in image.data.as_chunks_mut::<3>().0 {
        let before = pixel.map(|v| density[usize::from(v)]);
        for c in 0..3 {
            let after = shift[c] + mixing[c][0] * before[0] + mixing[c][1] * before[1] + mixing[c][2] * before[2];
            pixel[c] = (256.0 * (-after).exp() - 1.0).round().clamp(0.0, 255.0) as u8;
        }
    }
}

/// Returns the matrix `V^T diag(factor) A` and the vector `V^T shift` that map optical densities before to optical densities after.
///
/// V are the stain vectors and A the rows of the deconvolution matrix, whose product with densities gives concentrations.
fn mixing(changes: [(f64, f64); 3]) -> ([[f32; 3]; 3], [f32; 3]) {
    let of = |c: usize| STAINS.vectors.map(|vector| vector[c]);
    let row = |c: usize, from: usize| -> f64 { (0..3).map(|i| of(c)[i] * changes[i].0 * STAINS.unmixing[i][from]).sum() };
    let mixing = std::array::from_fn(|c| std::array::from_fn(|from| row(c, from) as f32));
    (mixing, std::array::from_fn(|c| dot(of(c), changes.map(|(_, shift)| shift)) as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The colour of given stain concentrations.
    fn colour(concentrations: [f64; 3]) -> [u8; 3] {
        std::array::from_fn(|c| {
            let density = dot(STAINS.vectors.map(|vector| vector[c]), concentrations);
            (256.0 * (-density).exp() - 1.0).round().clamp(0.0, 255.0) as u8
        })
    }

    #[test]
    fn unit_factors_and_no_shift_keep_every_colour() {
        let all: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v ^ 0x55]).collect();
        let mut image = RgbImage::new(256, 1, all.clone()).unwrap();
        restain(&mut image, [(1.0, 0.0); 3]);
        assert_eq!(image.data, all);
    }

    #[test]
    fn each_stain_is_scaled_and_shifted_independently() {
        let before = [colour([0.8, 0.3, 0.0]), colour([0.0, 0.5, 0.0]), colour([0.6, 0.0, 0.0]), [255; 3]];
        let mut image = RgbImage::new(4, 1, before.concat()).unwrap();
        restain(&mut image, [(1.5, 0.0), (0.5, 0.0), (1.0, 0.0)]);
        let expected = [colour([1.2, 0.15, 0.0]), colour([0.0, 0.25, 0.0]), colour([0.9, 0.0, 0.0]), [255; 3]];
        for (found, expected) in image.data.iter().zip(expected.as_flattened()) {
            assert!(found.abs_diff(*expected) <= 2, "{:?} {expected:?}", image.data);
        }
        restain(&mut image, [(1.0, 0.1), (1.0, 0.0), (1.0, 0.0)]);
        let glass = &image.data[9..];
        assert!(glass.iter().zip(colour([0.1, 0.0, 0.0])).all(|(found, expected)| found.abs_diff(expected) <= 1), "{glass:?}");
    }

    #[test]
    fn jittered_concentrations_stay_within_the_limits() {
        for i in 0..50 {
            let mut image = RgbImage::new(1, 1, colour([0.8, 0.4, 0.0]).to_vec()).unwrap();
            jitter(&mut image, &mut CounterRng::new(3, "stain", 0, 0, i));
            let density: [f64; 3] = std::array::from_fn(|c| -((f64::from(image.data[c]) + 1.0) / 256.0).ln());
            let [h, e, residual] = STAINS.unmixing.map(|amount| dot(amount, density));
            assert!((0.54..1.06).contains(&h) && (0.24..0.56).contains(&e) && residual.abs() < 0.07, "{h} {e} {residual}");
        }
    }
}

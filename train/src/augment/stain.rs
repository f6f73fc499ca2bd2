//! Stain jitter: how much hematoxylin and eosin a section takes up differs between laboratories, scanners and days.
//!
//! Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train distilled stain-invariant
//! convolutional networks", IEEE TMI 2018: optical densities are taken apart into stains, each amount gets a factor and an addition,
//! and they are put together again. Shapes stay; the colours are those that other stainings could have had.

use models::stains::{STAINS, dot};

use crate::data::RgbImage;
use crate::rng::CounterRng;

/// Factors of amounts are 1 +- this.
const FACTOR: f64 = 0.25;
/// What is added to amounts is up to this, in optical densities to base e.
const ADDITION: f64 = 0.05;

/// Amounts of hematoxylin, eosin and the rest by factors of 1 +- .25, and up to .05 more or less of each.
pub(super) fn jitter(image: &mut RgbImage, draw: &mut CounterRng) {
    let mut change = || (1.0 + draw.range(-FACTOR, FACTOR), draw.range(-ADDITION, ADDITION));
    let changes = [change(), change(), change()];
    restain(image, changes);
}

/// Factor and addition for each stain.
fn restain(image: &mut RgbImage, changes: [(f64, f64); 3]) {
    let (mixing, addition) = mixing(changes);
    // Light of 255 passes glass: a density of 0.
    let density: [f32; 256] = std::array::from_fn(|v| -((v + 1) as f32 / 256.0).ln());
    for pixel in image.data.as_chunks_mut::<3>().0 {
        let before = pixel.map(|v| density[usize::from(v)]);
        for c in 0..3 {
            let after = addition[c] + mixing[c][0] * before[0] + mixing[c][1] * before[1] + mixing[c][2] * before[2];
            pixel[c] = (256.0 * (-after).exp() - 1.0).round().clamp(0.0, 255.0) as u8;
        }
    }
}

/// `V^T diag(factor) A` and `V^T addition` for vectors of stains V and what picks amounts A: densities before to densities after.
fn mixing(changes: [(f64, f64); 3]) -> ([[f32; 3]; 3], [f32; 3]) {
    let of = |c: usize| STAINS.vectors.map(|vector| vector[c]);
    let row = |c: usize, from: usize| -> f64 { (0..3).map(|i| of(c)[i] * changes[i].0 * STAINS.unmixing[i][from]).sum() };
    let mixing = std::array::from_fn(|c| std::array::from_fn(|from| row(c, from) as f32));
    (mixing, std::array::from_fn(|c| dot(of(c), changes.map(|(_, addition)| addition)) as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The colour of amounts of stains.
    fn colour(amounts: [f64; 3]) -> [u8; 3] {
        std::array::from_fn(|c| {
            let density = dot(STAINS.vectors.map(|vector| vector[c]), amounts);
            (256.0 * (-density).exp() - 1.0).round().clamp(0.0, 255.0) as u8
        })
    }

    #[test]
    fn no_change_is_none() {
        let all: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v ^ 0x55]).collect();
        let mut image = RgbImage::new(256, 1, all.clone()).unwrap();
        restain(&mut image, [(1.0, 0.0); 3]);
        assert_eq!(image.data, all);
    }

    #[test]
    fn stains_become_more_and_less_by_themselves() {
        let before = [colour([0.8, 0.3, 0.0]), colour([0.0, 0.5, 0.0]), colour([0.6, 0.0, 0.0]), [255; 3]];
        let mut image = RgbImage::new(4, 1, before.concat()).unwrap();
        restain(&mut image, [(1.5, 0.0), (0.5, 0.0), (1.0, 0.0)]);
        let expected = [colour([1.2, 0.15, 0.0]), colour([0.0, 0.25, 0.0]), colour([0.9, 0.0, 0.0]), [255; 3]];
        for (found, expected) in image.data.iter().zip(expected.as_flattened()) {
            assert!(found.abs_diff(*expected) <= 2, "{:?} {expected:?}", image.data);
        }
        restain(&mut image, [(1.0, 0.1), (1.0, 0.0), (1.0, 0.0)]);
        let of_glass = &image.data[9..];
        assert!(of_glass.iter().zip(colour([0.1, 0.0, 0.0])).all(|(found, expected)| found.abs_diff(expected) <= 1), "{of_glass:?}");
    }

    #[test]
    fn what_is_drawn_stays_near() {
        for i in 0..50 {
            let mut image = RgbImage::new(1, 1, colour([0.8, 0.4, 0.0]).to_vec()).unwrap();
            jitter(&mut image, &mut CounterRng::new(3, "stain", 0, 0, i));
            let density: [f64; 3] = std::array::from_fn(|c| -((f64::from(image.data[c]) + 1.0) / 256.0).ln());
            let [h, e, rest] = STAINS.unmixing.map(|amount| dot(amount, density));
            assert!((0.54..1.06).contains(&h) && (0.24..0.56).contains(&e) && rest.abs() < 0.07, "{h} {e} {rest}");
        }
    }
}

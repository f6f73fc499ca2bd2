//! Density of an image in one channel, and its Laplacian.

use models::plane::Plane;

use super::edges::{intensity_scale, neighbours, smooth};
use crate::data::RgbImage;

/// Smoothed single-channel density of an image, scaled so that its Laplacian has a mean magnitude of 1.
///
/// The density of a pixel is the sum of its channels in optical density (transmitted light) or square root of intensity (fluorescence),
/// see `intensity_scale`, smoothed twice with the binomial kernel 1 2 1.
pub struct Density(pub Plane<f32>);

impl Density {
    /// Computes the density of an image; 0 everywhere if the image is uniform.
    pub fn of(image: &RgbImage) -> Self {
        let scale = intensity_scale(image);
        let values = image.data.as_chunks::<3>().0.iter().map(|pixel| pixel.iter().map(|&v| scale[usize::from(v)]).sum()).collect();
        let unscaled = Self(smooth(&smooth(&Plane { width: image.width, height: image.height, data: values })));
        let (w, h) = (image.width, image.height);
        let sum: f64 =
            (0..h).flat_map(|y| (0..w).map(move |x| (x, y))).map(|(x, y)| f64::from(unscaled.negative_laplacian(x, y).abs())).sum();
        let mean = sum / (w * h).max(1) as f64;
        Self(unscaled.0.map(|v| if mean > 0.0 { (f64::from(*v) / mean) as f32 } else { 0.0 }))
    }

    /// Returns the negative 5-point Laplacian: the sum of the differences to the four neighbours. Border pixels are replicated.
    pub fn negative_laplacian(&self, x: usize, y: usize) -> f32 {
        let [above, _, below] = neighbours(y, self.0.height).map(|y| self.0.at(x, y));
        let [left, here, right] = neighbours(x, self.0.width).map(|x| self.0.at(x, y));
        (here - above) + (here - below) + (here - left) + (here - right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alignment::synthetic::step;

    #[test]
    fn the_laplacian_has_opposite_signs_on_the_two_sides_of_an_edge() {
        // The denser half is the right one: bright on dark, and dark on light.
        for (left, right) in [(10, 90), (250, 140)] {
            let density = Density::of(&step(left, right));
            for y in 0..8 {
                assert!(
                    density.negative_laplacian(16, y) > 3.0
                        && (density.negative_laplacian(15, y) + density.negative_laplacian(16, y)).abs() < 1e-3
                );
                assert!((0..11).chain(21..32).all(|x| density.negative_laplacian(x, y).abs() < 1e-3));
            }
            let mean = (0..8 * 32).map(|i| density.negative_laplacian(i % 32, i / 32).abs()).sum::<f32>() / (8.0 * 32.0);
            assert!((mean - 1.0).abs() < 1e-4, "{mean}");
        }
    }

    #[test]
    fn a_uniform_image_is_0_and_the_exposure_does_not_matter() {
        assert!(Density::of(&step(77, 77)).0.data.iter().all(|v| *v == 0.0));
        let (dim, bright) = (Density::of(&step(4, 16)), Density::of(&step(16, 64)));
        assert!((0..32).all(|x| (dim.negative_laplacian(x, 3) - bright.negative_laplacian(x, 3)).abs() < 1e-3));
    }

    #[test]
    fn an_image_of_one_pixel_is_0() {
        assert_eq!(Density::of(&RgbImage::new(1, 1, vec![5, 6, 7]).unwrap()).0.data, [0.0]);
    }
}

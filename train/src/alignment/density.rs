//! How dark or bright an image is at each of its pixels, and how that curves.

use models::plane::Plane;

use super::edges::{around, scale, smooth};
use crate::data::RgbImage;

/// An image in one channel, smooth, in units in which its Laplacian has a mean magnitude of 1.
///
/// A pixel is the sum of its channels on the scale that edges are measured on (optical densities, or square roots of intensities),
/// smoothed twice by 1 2 1.
pub struct Density(pub Plane<f32>);

impl Density {
    /// Of an image; 0 everywhere for one of one colour.
    pub fn of(image: &RgbImage) -> Self {
        let scale = scale(image);
        let values = image.data.as_chunks::<3>().0.iter().map(|pixel| pixel.iter().map(|&v| scale[usize::from(v)]).sum()).collect();
        let plain = Self(smooth(&smooth(&Plane { width: image.width, height: image.height, data: values })));
        let (w, h) = (image.width, image.height);
        let curved: f64 = (0..h).flat_map(|y| (0..w).map(move |x| (x, y))).map(|(x, y)| f64::from(plain.bulge(x, y).abs())).sum();
        let mean = curved / (w * h).max(1) as f64;
        Self(plain.0.map(|v| if mean > 0.0 { (f64::from(*v) / mean) as f32 } else { 0.0 }))
    }

    /// Minus the Laplacian: how much a pixel is above its four neighbours in sum. The image goes on beyond its border as it is there.
    pub fn bulge(&self, x: usize, y: usize) -> f32 {
        let [above, _, below] = around(y, self.0.height).map(|y| self.0.at(x, y));
        let [left, here, right] = around(x, self.0.width).map(|x| self.0.at(x, y));
        (here - above) + (here - below) + (here - left) + (here - right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alignment::pictures::step;

    #[test]
    fn an_edge_curves_one_way_inside_and_the_other_way_outside() {
        // Bright on dark, and dark on light: the denser half is the right one.
        for (left, right) in [(10, 90), (250, 140)] {
            let density = Density::of(&step(left, right));
            for y in 0..8 {
                assert!(density.bulge(16, y) > 3.0 && (density.bulge(15, y) + density.bulge(16, y)).abs() < 1e-3);
                assert!((0..11).chain(21..32).all(|x| density.bulge(x, y).abs() < 1e-3));
            }
            let mean = (0..8 * 32).map(|i| density.bulge(i % 32, i / 32).abs()).sum::<f32>() / (8.0 * 32.0);
            assert!((mean - 1.0).abs() < 1e-4, "{mean}");
        }
    }

    #[test]
    fn one_colour_is_flat_and_the_exposure_does_not_matter() {
        assert!(Density::of(&step(77, 77)).0.data.iter().all(|v| *v == 0.0));
        let (dim, bright) = (Density::of(&step(4, 16)), Density::of(&step(16, 64)));
        assert!((0..32).all(|x| (dim.bulge(x, 3) - bright.bulge(x, 3)).abs() < 1e-3));
    }

    #[test]
    fn an_image_of_one_pixel_is_fine() {
        assert_eq!(Density::of(&RgbImage::new(1, 1, vec![5, 6, 7]).unwrap()).0.data, [0.0]);
    }
}

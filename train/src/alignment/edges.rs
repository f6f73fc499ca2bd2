//! Gradient magnitude of an image.

use models::plane::Plane;

use crate::data::RgbImage;

/// Gradient magnitude of an image at each pixel, in multiples of its mean over the image.
pub struct Edges(pub Plane<f32>);

impl Edges {
    /// Computes the Sobel gradient of the image after smoothing it twice with the binomial kernel 1 2 1.
    ///
    /// The channels are combined by the root of the sum of squares. A uniform image has edges of 0.
    pub fn of(image: &RgbImage) -> Self {
        let scale = intensity_scale(image);
        let mut squares = Plane::filled(image.width, image.height, 0.0);
        for channel in 0..3 {
            let values = image.data.as_chunks::<3>().0.iter().map(|pixel| scale[usize::from(pixel[channel])]).collect();
            let plane = Plane { width: image.width, height: image.height, data: values };
            add_squared_gradient(&mut squares, &smooth(&smooth(&plane)));
        }
        let magnitude = squares.map(|v| v.sqrt());
        let mean = magnitude.data.iter().map(|v| f64::from(*v)).sum::<f64>() / magnitude.data.len().max(1) as f64;
        Self(magnitude.map(|v| if mean > 0.0 { (f64::from(*v) / mean) as f32 } else { 0.0 }))
    }
}

/// Returns the look-up table from u8 values to a scale on which edges are comparable.
///
/// Bright images (transmitted light) are converted to optical density; dark ones (fluorescence) to the square root of intensity, because
/// that makes the variance of shot noise independent of the intensity.
pub(super) fn intensity_scale(image: &RgbImage) -> [f32; 256] {
    let brightness = image.data.iter().map(|v| f64::from(*v)).sum::<f64>() / image.data.len().max(1) as f64;
    std::array::from_fn(|v| if brightness > 127.5 { -((v as f32 + 1.0) / 256.0).ln() } else { (v as f32).sqrt() })
}

/// Returns the indices before, at and after `i` in `0..n`; indices beyond the border are clamped.
pub(super) fn neighbours(i: usize, n: usize) -> [usize; 3] {
    [i.saturating_sub(1), i, (i + 1).min(n - 1)]
}

/// Smooths with the binomial kernel (1 2 1) / 4 along columns, then along rows.
pub(super) fn smooth(plane: &Plane<f32>) -> Plane<f32> {
    let (w, h) = (plane.width, plane.height);
    let mut rows = plane.clone();
    for y in 0..h {
        let [above, here, below] = neighbours(y, h).map(|y| plane.row(y));
        let new = rows.row_mut(y);
        (0..w).for_each(|x| new[x] = 0.25 * (above[x] + below[x]) + 0.5 * here[x]);
    }
    let mut both = rows.clone();
    for y in 0..h {
        let row = rows.row(y);
        let new = both.row_mut(y);
        (0..w).for_each(|x| {
            let [left, here, right] = neighbours(x, w);
            new[x] = 0.25 * (row[left] + row[right]) + 0.5 * row[here];
        });
    }
    both
}

/// Adds the squared magnitude of the Sobel gradient of `plane` to `squares`.
fn add_squared_gradient(squares: &mut Plane<f32>, plane: &Plane<f32>) {
    let (w, h) = (plane.width, plane.height);
    for y in 0..h {
        let [above, here, below] = neighbours(y, h).map(|y| plane.row(y));
        let new = squares.row_mut(y);
        (0..w).for_each(|x| {
            let [l, m, r] = neighbours(x, w);
            let across = above[r] - above[l] + 2.0 * (here[r] - here[l]) + below[r] - below[l];
            let down = below[l] - above[l] + 2.0 * (below[m] - above[m]) + below[r] - above[r];
            new[x] += across * across + down * down;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alignment::synthetic::step;

    #[test]
    fn edges_are_high_at_a_step_and_have_a_mean_of_one() {
        for (left, right) in [(10, 90), (250, 120)] {
            let edges = Edges::of(&step(left, right)).0;
            for y in 0..8 {
                let row = edges.row(y);
                assert!(row[15] > 5.0 && (row[15] - row[16]).abs() < 1e-4 * row[15], "{row:?}");
                assert!(row[..11].iter().chain(&row[21..]).all(|v| *v < 1e-4), "{row:?}");
            }
            let mean = edges.data.iter().sum::<f32>() / edges.data.len() as f32;
            assert!((mean - 1.0).abs() < 1e-4, "{mean}");
        }
    }

    #[test]
    fn a_uniform_image_has_no_edges_and_the_exposure_does_not_matter() {
        assert!(Edges::of(&step(77, 77)).0.data.iter().all(|v| *v == 0.0));
        let (dim, bright) = (Edges::of(&step(4, 16)).0, Edges::of(&step(16, 64)).0);
        assert!(dim.data.iter().zip(&bright.data).all(|(a, b)| (a - b).abs() < 1e-3));
    }

    #[test]
    fn an_image_of_one_pixel_has_no_edges() {
        assert_eq!(Edges::of(&RgbImage::new(1, 1, vec![5, 6, 7]).unwrap()).0.data, [0.0]);
    }
}

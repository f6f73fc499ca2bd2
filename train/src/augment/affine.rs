//! Geometric augmentation: affine warps with bilinear interpolation for images and nearest-neighbour interpolation for label maps.
//!
//! Positions outside the source are reflected without repeating the border pixel (reflect-101).

use models::plane::{Plane, reflect_101};

use crate::data::RgbImage;

/// Affine transform `target = [[a, b, c], [d, e, f]] (x, y, 1)` in pixels; pixel centres have integer coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [[f64; 3]; 2]);

impl Affine {
    /// Builds the source-to-target transform that rotates by `degrees` (counter-clockwise on the screen) and scales about
    /// `(width / 2, height / 2)`, then translates by `shift` (x, y), in fractions of width and height.
    pub fn about_centre(width: usize, height: usize, degrees: f64, scale: f64, shift: [f64; 2]) -> Self {
        let (width, height) = (width as f64, height as f64);
        let (cos, sin) = (scale * degrees.to_radians().cos(), scale * degrees.to_radians().sin());
        let (x, y) = (width / 2.0, height / 2.0);
        Self([[cos, sin, (1.0 - cos) * x - sin * y + shift[0] * width], [-sin, cos, sin * x + (1.0 - cos) * y + shift[1] * height]])
    }

    /// Returns the target-to-source transform.
    ///
    /// # Panics
    /// If the transform is singular.
    #[must_use]
    pub fn inverse(self) -> Self {
        let Self([[a, b, c], [d, e, f]]) = self;
        let determinant = a * e - b * d;
        assert!(determinant.abs() > 1e-12, "{self:?} has no inverse");
        let [[a, b], [d, e]] = [[e / determinant, -b / determinant], [-d / determinant, a / determinant]];
        Self([[a, b, -(a * c + b * f)], [d, e, -(d * c + e * f)]])
    }

    /// Calls `put(target index, source x, source y)` for every target pixel in raster order.
    ///
    /// Source coordinates are fixed-point with [`FRACTION_BITS`] fractional bits, so that a step to the next pixel is one addition.
    fn for_each_source(self, width: usize, height: usize, mut put: impl FnMut(usize, i64, i64)) {
        let Self([[a, b, c], [d, e, f]]) = self.inverse();
        let fixed = |v: f64| (v * 2f64.powi(FRACTION_BITS as i32)).round() as i64;
        let (step_x, step_y) = (fixed(a), fixed(d));
        for row in 0..height {
            let y = row as f64;
            let (mut source_x, mut source_y) = (fixed(b * y + c), fixed(e * y + f));
            for target in row * width..(row + 1) * width {
                put(target, source_x, source_y);
                source_x += step_x;
                source_y += step_y;
            }
        }
    }
}

/// Number of fractional bits of a fixed-point source coordinate.
const FRACTION_BITS: u32 = 32;
/// Number of bits of a bilinear weight. An 8-bit value times two such weights, plus the rounding term, fits 32 bits.
const WEIGHT_BITS: u32 = 11;

/// Warps an image by `transform` (source to target) with bilinear interpolation, rounded; the size stays.
pub fn warp_bilinear(image: &RgbImage, transform: Affine) -> RgbImage {
    let (width, height) = (image.width, image.height);
    let mut data = vec![0; image.data.len()];
    transform.for_each_source(width, height, |target, x, y| {
        let (left, top) = ((x >> FRACTION_BITS) as isize, (y >> FRACTION_BITS) as isize);
        let weight = |v: i64| (v >> (FRACTION_BITS - WEIGHT_BITS)) as u32 & ((1 << WEIGHT_BITS) - 1);
        let corners = corners(left, top, width, height);
        let pixel = blend(&image.data, corners, weight(x), weight(y));
        data[3 * target..3 * target + 3].copy_from_slice(&pixel);
    });
    RgbImage { width, height, data }
}

/// Returns the offsets into RGB data of the four pixels around a position: upper left, upper right, lower left, lower right.
#[inline]
fn corners(left: isize, top: isize, width: usize, height: usize) -> [usize; 4] {
    let inside = left >= 0 && top >= 0 && left + 1 < width as isize && top + 1 < height as isize;
    if inside {
        let start = 3 * (top as usize * width + left as usize);
        return [start, start + 3, start + 3 * width, start + 3 * width + 3];
    }
    let [x0, x1] = [reflect_101(left, width), reflect_101(left + 1, width)];
    let [y0, y1] = [reflect_101(top, height), reflect_101(top + 1, height)];
    [3 * (y0 * width + x0), 3 * (y0 * width + x1), 3 * (y1 * width + x0), 3 * (y1 * width + x1)]
}

/// Interpolates bilinearly between four pixels; `right` and `down` are the weights of the right and the lower ones, times `2^WEIGHT_BITS`.
#[inline]
fn blend(data: &[u8], corners: [usize; 4], right: u32, down: u32) -> [u8; 3] {
    const ONE: u32 = 1 << WEIGHT_BITS;
    let [a, b, c, d] = corners.map(|start| &data[start..start + 3]);
    std::array::from_fn(|channel| {
        let upper = u32::from(a[channel]) * (ONE - right) + u32::from(b[channel]) * right;
        let lower = u32::from(c[channel]) * (ONE - right) + u32::from(d[channel]) * right;
        ((upper * (ONE - down) + lower * down + (1 << (2 * WEIGHT_BITS - 1))) >> (2 * WEIGHT_BITS)) as u8
    })
}

/// Warps a label map by `transform` (source to target) with nearest-neighbour interpolation, `floor(s + .5)`; the size stays.
pub fn warp_nearest<T: Copy + Default>(plane: &Plane<T>, transform: Affine) -> Plane<T> {
    let (width, height) = (plane.width, plane.height);
    let mut data = vec![T::default(); plane.data.len()];
    transform.for_each_source(width, height, |target, x, y| {
        let nearest = |v: i64| ((v + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS) as isize;
        let (x, y) = (nearest(x), nearest(y));
        let inside = x >= 0 && y >= 0 && x < width as isize && y < height as isize;
        let (x, y) = if inside { (x as usize, y as usize) } else { (reflect_101(x, width), reflect_101(y, height)) };
        data[target] = plane.data[y * width + x];
    });
    Plane { width, height, data }
}

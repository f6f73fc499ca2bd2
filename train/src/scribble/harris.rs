//! Harris corner detector (Harris and Stephens, 1988), which finds the junctions of the background's skeleton.

use models::plane::Plane;

/// Weight of the squared trace in the response.
const K: f64 = 0.05;
/// Standard deviation of the Gaussian window, in pixels.
const SIGMA: f64 = 1.0;
/// Smallest distance between corners (Chebyshev distance) and from the border, in pixels.
const MIN_DISTANCE: usize = 5;
/// Smallest response of a corner, as a fraction of the maximum response.
const THRESHOLD: f64 = 0.1;

/// Detects the corners of a mask; returns their positions (x, y), strongest first.
pub fn corners(mask: &Plane<bool>) -> Vec<(usize, usize)> {
    peaks(&response(mask))
}

/// Computes the Harris response `det A - K trace(A)^2`, with the structure tensor A of Sobel derivatives in a Gaussian window.
///
/// Pixels outside the mask count as 0.
pub fn response(mask: &Plane<bool>) -> Plane<f64> {
    let image = mask.map(|&v| f64::from(u8::from(v)));
    let (dx, dy) = (sobel(&image, true), sobel(&image, false));
    let product = |a: &Plane<f64>, b: &Plane<f64>| {
        let data = a.data.iter().zip(&b.data).map(|(a, b)| a * b).collect();
        gaussian(&Plane { width: a.width, height: a.height, data })
    };
    let (xx, xy, yy) = (product(&dx, &dx), product(&dx, &dy), product(&dy, &dy));
    let data = (0..xx.data.len()).map(|i| {
        let (xx, xy, yy) = (xx.data[i], xy.data[i], yy.data[i]);
        xx * yy - xy * xy - K * (xx + yy).powi(2)
    });
    Plane { width: mask.width, height: mask.height, data: data.collect() }
}

/// Computes the Sobel derivative along x (or y): central differences, smoothed with 1 2 1 along the other axis; absolute weights sum to 1.
fn sobel(image: &Plane<f64>, along_x: bool) -> Plane<f64> {
    let (slope, smooth) = ([-0.5, 0.0, 0.5], [0.25, 0.5, 0.25]);
    if along_x { separable(image, &slope, &smooth) } else { separable(image, &smooth, &slope) }
}

/// Smooths with a Gaussian of [`SIGMA`], truncated at 4 standard deviations.
fn gaussian(image: &Plane<f64>) -> Plane<f64> {
    let radius = (4.0 * SIGMA + 0.5) as isize;
    let weights: Vec<f64> = (-radius..=radius).map(|i| (-0.5 * (i as f64 / SIGMA).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.iter().map(|w| w / sum).collect();
    separable(image, &weights, &weights)
}

/// Correlates rows with `along_x`, then columns with `along_y`; pixels outside the image count as 0.
fn separable(image: &Plane<f64>, along_x: &[f64], along_y: &[f64]) -> Plane<f64> {
    let (width, height) = (image.width, image.height);
    let tap = |i: usize, k: usize, weights: &[f64], n: usize| (i + k).checked_sub(weights.len() / 2).filter(|&j| j < n);
    let mut rows = Plane::filled(width, height, 0.0);
    for y in 0..height {
        let source = image.row(y);
        for (x, out) in rows.row_mut(y).iter_mut().enumerate() {
            *out = along_x.iter().enumerate().filter_map(|(k, w)| tap(x, k, along_x, width).map(|j| w * source[j])).sum();
        }
    }
    let mut out = Plane::filled(width, height, 0.0);
    for y in 0..height {
        for (k, w) in along_y.iter().enumerate() {
            if let Some(j) = tap(y, k, along_y, height) {
                out.row_mut(y).iter_mut().zip(rows.row(j)).for_each(|(sum, v)| *sum += w * v);
            }
        }
    }
    out
}

/// Returns the local maxima above the threshold, strongest first (ties in raster order), with non-maximum suppression by distance.
fn peaks(response: &Plane<f64>) -> Vec<(usize, usize)> {
    let (width, height) = (response.width, response.height);
    if width <= 2 * MIN_DISTANCE || height <= 2 * MIN_DISTANCE {
        return Vec::new();
    }
    let strongest = response.data.iter().copied().fold(0.0, f64::max);
    let mut found: Vec<(f64, usize, usize)> = Vec::new();
    for y in MIN_DISTANCE..height - MIN_DISTANCE {
        for x in MIN_DISTANCE..width - MIN_DISTANCE {
            let value = response.at(x, y);
            if value > THRESHOLD * strongest && is_maximum(response, x, y, value) {
                found.push((value, x, y));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut kept: Vec<(usize, usize)> = Vec::new();
    for (_, x, y) in found {
        if kept.iter().all(|&(kx, ky)| kx.abs_diff(x).max(ky.abs_diff(y)) > MIN_DISTANCE) {
            kept.push((x, y));
        }
    }
    kept
}

/// Reports whether no response within [`MIN_DISTANCE`] is greater than `value`.
fn is_maximum(response: &Plane<f64>, x: usize, y: usize, value: f64) -> bool {
    let row = |y: usize| &response.row(y)[x - MIN_DISTANCE..=x + MIN_DISTANCE];
    (y - MIN_DISTANCE..=y + MIN_DISTANCE).all(|y| row(y).iter().all(|&v| v <= value))
}

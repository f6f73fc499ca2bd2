//! Simulated strokes: imitation of manual scribbles, generated from instance labels.
//!
//! The papers' manual scribbles were never released. Reports call results from this simulator "simulated strokes".

use models::decode::components;
use models::plane::Plane;

use super::background::background_strokes;
use super::raster::{Point, WIDTH_PX, pixels_within};
use super::{FOREGROUND, UNLABELLED};
use crate::rng::CounterRng;

/// Generates strokes on a random `fraction` (0 to 1) of the nuclei, and 1 to 3 long curves along the skeleton of the background.
///
/// A stroke is a jittered curve along the major axis of its nucleus, clipped to the nucleus eroded by 1 or 2 px, or by less if the nucleus
/// is too small. Of n nuclei, `ceil(fraction n)` receive a stroke.
pub fn strokes(labels: &Plane<u32>, fraction: f64, rng: &mut CounterRng) -> Plane<u8> {
    assert!((0.0..=1.0).contains(&fraction), "expected a fraction from 0 to 1, found {fraction}");
    let mut scribble = Plane::filled(labels.width, labels.height, UNLABELLED);
    background_strokes(labels, &mut scribble, rng);
    let nuclei = pixels_of(labels);
    let count = (fraction * nuclei.len() as f64).ceil() as usize;
    for nucleus in rng.permutation(nuclei.len()).into_iter().take(count) {
        nucleus_stroke(labels, &nuclei[nucleus], &mut scribble, rng);
    }
    scribble
}

/// Returns the pixels (x, y) of each nucleus, in ascending order of ids.
fn pixels_of(labels: &Plane<u32>) -> Vec<Vec<(usize, usize)>> {
    let mut nuclei = std::collections::BTreeMap::<u32, Vec<(usize, usize)>>::new();
    for (i, &id) in labels.data.iter().enumerate().filter(|(_, id)| **id > 0) {
        nuclei.entry(id).or_default().push((i % labels.width, i / labels.width));
    }
    nuclei.into_values().collect()
}

/// Draws a stroke of random width on one nucleus.
fn nucleus_stroke(labels: &Plane<u32>, pixels: &[(usize, usize)], scribble: &mut Plane<u8>, rng: &mut CounterRng) {
    let radius = rng.range(WIDTH_PX.0, WIDTH_PX.1) / 2.0;
    let erosion = 1 + rng.below(2) as isize;
    let curve = smooth_curve(&axis_points(pixels, rng));
    let allowed = (0..=erosion).rev().map(|radius| eroded(labels, pixels, radius)).find(|kept| !kept.is_empty()).unwrap_or_default();
    let near = |&&(x, y): &&(usize, usize)| is_near(&curve, [x as f64 + 0.5, y as f64 + 0.5], radius);
    let touched: Vec<_> = allowed.iter().filter(near).collect();
    // A curve that misses the eroded nucleus is replaced by a single pixel inside.
    for &(x, y) in if touched.is_empty() { allowed.first().into_iter().collect() } else { touched } {
        scribble.row_mut(y)[x] = FOREGROUND;
    }
}

/// Returns five points along the major axis of the pixels, over 60 to 90 % of its length, with random lateral offsets.
fn axis_points(pixels: &[(usize, usize)], rng: &mut CounterRng) -> Vec<Point> {
    let n = pixels.len() as f64;
    let (sum_x, sum_y) = pixels.iter().fold((0, 0), |(sx, sy), (x, y)| (sx + x, sy + y));
    let centre = [sum_x as f64 / n + 0.5, sum_y as f64 / n + 0.5];
    let offsets: Vec<Point> = pixels.iter().map(|&(x, y)| [x as f64 + 0.5 - centre[0], y as f64 + 0.5 - centre[1]]).collect();
    let [xx, xy, yy] = offsets.iter().fold([0.0; 3], |[a, b, c], [x, y]| [a + x * x / n, b + x * y / n, c + y * y / n]);
    let axis = major_axis(xx, xy, yy);
    let along = offsets.iter().map(|[x, y]| x * axis[0] + y * axis[1]);
    let (low, high) = along.fold((0.0, 0.0), |(low, high): (f64, f64), t| (low.min(t), high.max(t)));
    let minor = (xx + yy - (axis[0] * axis[0] * xx + 2.0 * axis[0] * axis[1] * xy + axis[1] * axis[1] * yy)).max(0.0).sqrt();
    let extent = rng.range(0.6, 0.9);
    let point = |i: usize, lateral: f64| {
        let t = extent * (low + (high - low) * i as f64 / 4.0);
        [centre[0] + t * axis[0] - lateral * axis[1], centre[1] + t * axis[1] + lateral * axis[0]]
    };
    (0..5).map(|i| point(i, 0.3 * minor * rng.normal())).collect()
}

/// Returns the unit eigenvector of the larger eigenvalue of the covariance matrix `[[xx, xy], [xy, yy]]`.
fn major_axis(xx: f64, xy: f64, yy: f64) -> Point {
    let largest = (xx + yy + ((xx - yy).powi(2) + 4.0 * xy * xy).sqrt()) / 2.0;
    let [x, y] = if xx >= yy { [largest - yy, xy] } else { [xy, largest - xx] };
    let length = (x * x + y * y).sqrt();
    if length > 0.0 { [x / length, y / length] } else { [1.0, 0.0] }
}

/// Samples a Catmull-Rom spline through the points, whose ends are duplicated, in eight steps per span.
fn smooth_curve(points: &[Point]) -> Vec<Point> {
    let at = |i: isize| points[i.clamp(0, points.len() as isize - 1) as usize];
    let mut curve = Vec::new();
    for span in 0..points.len() as isize - 1 {
        let [a, b, c, d] = [at(span - 1), at(span), at(span + 1), at(span + 2)];
        for step in 0..=8 {
            let t = f64::from(step) / 8.0;
            curve.push(std::array::from_fn(|k| {
                let (cubic, square) = (3.0 * (b[k] - c[k]) + d[k] - a[k], 2.0 * a[k] - 5.0 * b[k] + 4.0 * c[k] - d[k]);
                0.5 * (((cubic * t + square) * t + c[k] - a[k]) * t + 2.0 * b[k])
            }));
        }
    }
    curve
}

/// Reports whether a sample of the curve is within `radius` of `p`.
fn is_near(curve: &[Point], p: Point, radius: f64) -> bool {
    curve.iter().any(|q| (p[0] - q[0]).powi(2) + (p[1] - q[1]).powi(2) <= radius * radius)
}

/// Erodes a nucleus by a disc of `radius` px; pixels outside the image do not erode.
fn eroded(labels: &Plane<u32>, pixels: &[(usize, usize)], radius: isize) -> Vec<(usize, usize)> {
    let stays =
        |&(x, y): &(usize, usize)| pixels_within(labels, x, y, radius * radius).all(|(nx, ny)| labels.at(nx, ny) == labels.at(x, y));
    pixels.iter().copied().filter(stays).collect()
}

/// Counts the strokes of a class in a scribble map: its 8-connected components.
pub fn stroke_count(scribble: &Plane<u8>, class: u8) -> usize {
    components(&scribble.map(|&value| value == class)).data.iter().max().map_or(0, |&id| id as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Counts;
    use crate::scribble::BACKGROUND;
    use crate::scribble::background::clear_background;

    /// Elliptic nuclei of several sizes, and two of 1 and 4 px.
    fn nuclei() -> Plane<u32> {
        let mut labels = Plane::filled(160, 120, 0);
        let shapes = [(20, 20, 12, 7), (60, 25, 6, 14), (110, 40, 10, 10), (30, 80, 15, 5), (90, 90, 9, 12), (140, 100, 4, 4)];
        for (k, (cx, cy, rx, ry)) in shapes.into_iter().enumerate() {
            for (x, y) in (0..160isize).flat_map(|x| (0..120isize).map(move |y| (x, y))) {
                if (x - cx).pow(2) * ry * ry + (y - cy).pow(2) * rx * rx <= rx * rx * ry * ry {
                    labels.row_mut(y as usize)[x as usize] = k as u32 + 1;
                }
            }
        }
        labels.row_mut(5)[150] = 7;
        labels.row_mut(110)[5..7].fill(8);
        labels.row_mut(111)[5..7].fill(8);
        labels
    }

    fn make(fraction: f64, seed: u64) -> Plane<u8> {
        strokes(&nuclei(), fraction, &mut CounterRng::new(seed, "strokes", 0, 0, 0))
    }

    #[test]
    fn nucleus_strokes_are_inside_nuclei_and_background_strokes_keep_their_distance() {
        let labels = nuclei();
        for seed in 0..20 {
            let scribble = make(1.0, seed);
            let clear = clear_background(&labels);
            for i in 0..labels.data.len() {
                match scribble.data[i] {
                    FOREGROUND => assert!(labels.data[i] > 0),
                    BACKGROUND => assert!(clear.data[i]),
                    _ => {}
                }
            }
            let touched: std::collections::BTreeSet<u32> =
                (0..labels.data.len()).filter(|&i| scribble.data[i] == FOREGROUND).map(|i| labels.data[i]).collect();
            assert_eq!(touched.len(), 8, "every nucleus has a stroke");
            let background = stroke_count(&scribble, BACKGROUND);
            assert!((1..=6).contains(&background), "{background} background strokes");
            let share = Counts::of(&scribble).labelled_share();
            assert!((0.01..0.25).contains(&share), "{share}");
        }
    }

    #[test]
    fn the_number_of_nuclei_is_rounded_up_and_strokes_depend_only_on_the_seed() {
        assert_eq!(stroke_count(&make(0.5, 3), FOREGROUND), 4);
        assert_eq!(stroke_count(&make(0.0, 3), FOREGROUND), 0);
        assert_eq!(make(0.5, 3), make(0.5, 3));
        assert_ne!(make(0.5, 3), make(0.5, 4));
    }

    #[test]
    fn tiny_images_and_images_of_one_class_are_valid() {
        for (width, height, value) in [(1, 1, 0), (1, 1, 1), (40, 3, 0), (30, 30, 1), (64, 64, 0)] {
            let scribble = strokes(&Plane::filled(width, height, value), 1.0, &mut CounterRng::new(0, "strokes", 0, 0, 0));
            assert_eq!(Counts::of(&scribble).foreground > 0, value > 0, "{width} x {height}");
        }
    }

    #[test]
    fn the_major_axis_is_the_longer_one() {
        let [x, y] = major_axis(4.0, 0.0, 1.0);
        assert!((x.abs() - 1.0).abs() < 1e-12 && y.abs() < 1e-12);
        let [x, y] = major_axis(1.0, 1.0, 1.0);
        assert!((x - y).abs() < 1e-12);
    }
}

//! What is measured of a nucleus, in units of its pixels' sides.

use super::Instance;
use super::boundary::{QUARTERS, Ring};

/// Measurements; lengths and areas in the unit of the pixel sides they were made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Area of its pixels, filled.
    pub area: f64,
    /// Length of the lines through the midpoints of boundary sides, holes included: corners count √½ for two halves.
    pub perimeter: f64,
    /// Mean position of its pixels' area, from the corner of the image.
    pub centroid: [f64; 2],
    /// Long axis of the ellipse with the same second moments.
    pub major_axis: f64,
    /// Short axis of that ellipse.
    pub minor_axis: f64,
    /// `sqrt(1 - (minor / major)²)`: 0 for a disc.
    pub eccentricity: f64,
    /// Area over the area of the convex hull.
    pub solidity: f64,
}

impl Shape {
    /// Measures an instance whose pixels have sides `pixel` along x and y.
    pub fn of(instance: &Instance, pixel: [f64; 2]) -> Self {
        let moments = Moments::of(instance);
        let area = moments.count * pixel[0] * pixel[1];
        let (major_axis, minor_axis) = moments.axes(pixel);
        let hull = hull_area(&instance.rings[0], pixel);
        Self {
            area,
            perimeter: instance.rings.iter().map(|ring| perimeter(ring, pixel)).sum(),
            centroid: [moments.mean[0] * pixel[0], moments.mean[1] * pixel[1]],
            major_axis,
            minor_axis,
            eccentricity: if major_axis > 0.0 { (1.0 - (minor_axis / major_axis).powi(2)).max(0.0).sqrt() } else { 0.0 },
            solidity: (area / hull).min(1.0),
        }
    }
}

/// Area, mean and central second moments in pixels; each pixel is a unit square, which adds 1/12 to its own second moments.
struct Moments {
    count: f64,
    mean: [f64; 2],
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Moments {
    fn of(instance: &Instance) -> Self {
        let first = instance.runs[0];
        // Sums about a pixel of the nucleus itself stay small, whatever the size of the slide.
        let (mut n, mut sx, mut sy, mut sxx, mut syy, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        for run in &instance.runs {
            let count = run.length() as f64;
            let x = f64::midpoint(run.x0 as f64, run.x1 as f64) - first.x0 as f64;
            let y = run.y as f64 + 0.5 - first.y as f64;
            n += count;
            sx += count * x;
            sy += count * y;
            sxx += count * (x * x + (count * count - 1.0) / 12.0);
            syy += count * y * y;
            sxy += count * x * y;
        }
        let (mx, my) = (sx / n, sy / n);
        let own = 1.0 / 12.0;
        let mean = [mx + first.x0 as f64, my + first.y as f64];
        Self { count: n, mean, xx: sxx / n - mx * mx + own, yy: syy / n - my * my + own, xy: sxy / n - mx * my }
    }

    /// `4 sqrt(eigenvalue)` of the covariance, the larger first.
    fn axes(&self, pixel: [f64; 2]) -> (f64, f64) {
        let (xx, yy, xy) = (self.xx * pixel[0] * pixel[0], self.yy * pixel[1] * pixel[1], self.xy * pixel[0] * pixel[1]);
        let (mean, spread) = (f64::midpoint(xx, yy), ((xx - yy) / 2.0).hypot(xy));
        (4.0 * (mean + spread).max(0.0).sqrt(), 4.0 * (mean - spread).max(0.0).sqrt())
    }
}

/// A side of `n` pixels has `n - 1` straight steps between midpoints; each corner is one step over half a side of both kinds.
fn perimeter(ring: &Ring, pixel: [f64; 2]) -> f64 {
    let corner = pixel[0].hypot(pixel[1]) / 2.0;
    let mut length = 0.0;
    for (i, from) in ring.iter().enumerate() {
        let to = ring[(i + 1) % ring.len()];
        let step = [0, 1].map(|axis| (to[axis] - from[axis]).abs() as f64 / QUARTERS as f64);
        if step[0] == 0.0 || step[1] == 0.0 {
            let axis = usize::from(step[0] == 0.0);
            length += (step[axis] - 1.0) * pixel[axis] + corner;
        } else {
            // The cut of a pinched corner: the quarters it took from both sides come back, and it is no corner of its own.
            length += step[0] * pixel[0] + step[1] * pixel[1];
        }
    }
    length
}

/// Area of the convex hull of a ring (Andrew's monotone chain, 1979).
fn hull_area(ring: &Ring, pixel: [f64; 2]) -> f64 {
    let mut points = ring.clone();
    points.sort_unstable();
    let chain = |points: &mut dyn Iterator<Item = [i64; 2]>| {
        let mut hull: Vec<[i64; 2]> = Vec::new();
        for point in points {
            while hull.len() > 1 && turn(hull[hull.len() - 2], hull[hull.len() - 1], point) <= 0 {
                hull.pop();
            }
            hull.push(point);
        }
        hull.pop();
        hull
    };
    let mut hull = chain(&mut points.iter().copied());
    hull.extend(chain(&mut points.iter().rev().copied()));
    let twice: i64 = (0..hull.len()).map(|i| cross(hull[i], hull[(i + 1) % hull.len()])).sum();
    twice.abs() as f64 / 2.0 / (QUARTERS * QUARTERS) as f64 * pixel[0] * pixel[1]
}

fn cross(a: [i64; 2], b: [i64; 2]) -> i64 {
    a[0] * b[1] - a[1] * b[0]
}

fn turn(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> i64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

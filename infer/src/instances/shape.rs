//! Shape measurements of a nucleus, in the unit of its pixels' sides.

use super::Instance;
use super::boundary::{QUARTERS, Ring};

/// Shape of a nucleus; lengths and areas are in the unit of the pixel sides given to [`Shape::of`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Area of the pixels, filled holes included.
    pub area: f64,
    /// Length of the polygon through the midpoints of boundary sides, holes included: a corner counts √½ instead of two half sides.
    pub perimeter: f64,
    /// Centre of mass of the pixels, from the corner of the image.
    pub centroid: [f64; 2],
    /// Major axis of the ellipse with the same second moments.
    pub major_axis: f64,
    /// Minor axis of the same ellipse.
    pub minor_axis: f64,
    /// `sqrt(1 - (minor / major)²)`: 0 for a disc.
    pub eccentricity: f64,
    /// Area divided by the area of the convex hull.
    pub solidity: f64,
}

impl Shape {
    /// Measures an instance whose pixels have the sides `pixel` along x and y.
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

/// Returns the centre of mass of the pixels of an instance, in pixels from the corner of the image.
pub fn centroid(instance: &Instance) -> [f64; 2] {
    Moments::of(instance).mean
}

/// Area, mean and central second moments in pixels; a pixel is a unit square, whose own second moments are 1/12.
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
        // Coordinates are relative to a pixel of the nucleus, so that sums stay small on a slide of any size.
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
        let pixel_moment = 1.0 / 12.0;
        let mean = [mx + first.x0 as f64, my + first.y as f64];
        Self { count: n, mean, xx: sxx / n - mx * mx + pixel_moment, yy: syy / n - my * my + pixel_moment, xy: sxy / n - mx * my }
    }

    /// Returns the axes of the ellipse, `4 sqrt(eigenvalue)` of the covariance, the larger first.
    fn axes(&self, pixel: [f64; 2]) -> (f64, f64) {
        let (xx, yy, xy) = (self.xx * pixel[0] * pixel[0], self.yy * pixel[1] * pixel[1], self.xy * pixel[0] * pixel[1]);
        let (mean, spread) = (f64::midpoint(xx, yy), ((xx - yy) / 2.0).hypot(xy));
        (4.0 * (mean + spread).max(0.0).sqrt(), 4.0 * (mean - spread).max(0.0).sqrt())
    }
}

/// Returns the perimeter of a ring: a side of `n` pixels has `n - 1` steps between midpoints, and each corner is one diagonal step.
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
            // A shared corner was replaced by a diagonal: the quarters that it took from both sides are added back, without a corner.
            length += step[0] * pixel[0] + step[1] * pixel[1];
        }
    }
    length
}

/// Returns the area of the convex hull of a ring (Andrew's monotone chain, 1979).
fn hull_area(ring: &Ring, pixel: [f64; 2]) -> f64 {
    let mut vertices = ring.clone();
    vertices.sort_unstable();
    let chain = |vertices: &mut dyn Iterator<Item = [i64; 2]>| {
        let mut hull: Vec<[i64; 2]> = Vec::new();
        for point in vertices {
            while hull.len() > 1 && orientation(hull[hull.len() - 2], hull[hull.len() - 1], point) <= 0 {
                hull.pop();
            }
            hull.push(point);
        }
        hull.pop();
        hull
    };
    let mut hull = chain(&mut vertices.iter().copied());
    hull.extend(chain(&mut vertices.iter().rev().copied()));
    let twice: i64 = (0..hull.len()).map(|i| cross(hull[i], hull[(i + 1) % hull.len()])).sum();
    twice.abs() as f64 / 2.0 / (QUARTERS * QUARTERS) as f64 * pixel[0] * pixel[1]
}

/// Returns the cross product of two vectors.
fn cross(a: [i64; 2], b: [i64; 2]) -> i64 {
    a[0] * b[1] - a[1] * b[0]
}

/// Returns a positive number if `a`, `b`, `c` turn counterclockwise in axes with y upwards, 0 if they are collinear.
fn orientation(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> i64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

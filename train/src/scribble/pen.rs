//! Drawing on a map: strokes with round ends, and neighbourhoods.

use models::plane::Plane;

/// A position (x, y) in pixels; the centre of pixel (0, 0) is (.5, .5).
pub(super) type Point = [f64; 2];

/// Simulated strokes are 2 to 4 px wide.
pub(super) const WIDTH_PX: (f64, f64) = (2.0, 4.0);

/// Sets every pixel whose centre is at most `radius` from the segment `a b` (x, y).
pub(super) fn stroke(map: &mut Plane<u8>, a: Point, b: Point, radius: f64, value: u8) {
    let along = [b[0] - a[0], b[1] - a[1]];
    let length_squared = along[0].powi(2) + along[1].powi(2);
    for y in pixels(a[1].min(b[1]) - radius, a[1].max(b[1]) + radius, map.height) {
        for x in pixels(a[0].min(b[0]) - radius, a[0].max(b[0]) + radius, map.width) {
            let from_a = [x as f64 + 0.5 - a[0], y as f64 + 0.5 - a[1]];
            let t = (from_a[0] * along[0] + from_a[1] * along[1]) / length_squared;
            let t = if t.is_finite() { t.clamp(0.0, 1.0) } else { 0.0 };
            let off = [from_a[0] - t * along[0], from_a[1] - t * along[1]];
            if off[0].powi(2) + off[1].powi(2) <= radius.powi(2) {
                map.row_mut(y)[x] = value;
            }
        }
    }
}

/// The pixels of `0..n` whose centres may lie in `low..=high`.
pub(super) fn pixels(low: f64, high: f64, n: usize) -> std::ops::Range<usize> {
    let bound = |v: f64| v.clamp(0.0, n as f64) as usize;
    bound(low.floor())..bound(high.ceil())
}

/// Pixels of the plane whose squared distance from (x, y) is at most `squared`.
pub(super) fn around<T>(plane: &Plane<T>, x: usize, y: usize, squared: isize) -> impl Iterator<Item = (usize, usize)> {
    let (width, height) = (plane.width as isize, plane.height as isize);
    let reach = squared.isqrt();
    let offsets = (-reach..=reach).flat_map(move |dy| (-reach..=reach).map(move |dx| (dx, dy)));
    let moved = offsets.filter(move |(dx, dy)| dx * dx + dy * dy <= squared).map(move |(dx, dy)| (x as isize + dx, y as isize + dy));
    moved.filter(move |&(x, y)| x >= 0 && y >= 0 && x < width && y < height).map(|(x, y)| (x as usize, y as usize))
}

//! Rasterisation primitives: line segments with round ends, filled polygons, and disc neighbourhoods.

use models::plane::Plane;

/// Position (x, y) in pixels; the centre of pixel (0, 0) is at (.5, .5).
pub(super) type Point = [f64; 2];

/// Range of the width of simulated strokes, in pixels.
pub(super) const WIDTH_PX: (f64, f64) = (2.0, 4.0);

/// Sets all pixels whose centres are within `radius` of the line segment from `a` to `b`.
pub(super) fn draw_segment(map: &mut Plane<u8>, a: Point, b: Point, radius: f64, value: u8) {
    let direction = [b[0] - a[0], b[1] - a[1]];
    let length_squared = direction[0].powi(2) + direction[1].powi(2);
    for y in pixels(a[1].min(b[1]) - radius, a[1].max(b[1]) + radius, map.height) {
        for x in pixels(a[0].min(b[0]) - radius, a[0].max(b[0]) + radius, map.width) {
            let from_a = [x as f64 + 0.5 - a[0], y as f64 + 0.5 - a[1]];
            let t = (from_a[0] * direction[0] + from_a[1] * direction[1]) / length_squared;
            let t = if t.is_finite() { t.clamp(0.0, 1.0) } else { 0.0 };
            let offset = [from_a[0] - t * direction[0], from_a[1] - t * direction[1]];
            if offset[0].powi(2) + offset[1].powi(2) <= radius.powi(2) {
                map.row_mut(y)[x] = value;
            }
        }
    }
}

/// Fills the polygon with the given closed rings by the even-odd rule; a pixel is inside if its centre is.
pub(super) fn fill(map: &mut Plane<u8>, rings: &[Vec<Point>], value: u8) {
    let ys = rings.iter().flatten().map(|p| p[1]);
    let (top, bottom) = ys.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)));
    for y in pixels(top, bottom, map.height) {
        let mut crossings: Vec<f64> = rings.iter().flat_map(|ring| crossings(ring, y as f64 + 0.5)).collect();
        crossings.sort_by(f64::total_cmp);
        for pair in crossings.as_chunks::<2>().0 {
            // The pixels of the span have centres x + .5 in [left, right).
            let from = (pair[0] - 0.5).ceil().clamp(0.0, map.width as f64) as usize;
            let to = (pair[1] - 0.5).ceil().clamp(0.0, map.width as f64) as usize;
            map.row_mut(y)[from..to].fill(value);
        }
    }
}

/// Returns the x coordinates at which a closed ring crosses the horizontal line at `y`.
fn crossings(ring: &[Point], y: f64) -> impl Iterator<Item = f64> + '_ {
    let next = ring.iter().cycle().skip(1);
    let crosses = move |(a, b): &(&Point, &Point)| (a[1] <= y) != (b[1] <= y);
    ring.iter().zip(next).filter(crosses).map(move |(a, b)| a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
}

/// Returns the pixels of `0..n` whose centres can be in `low..=high`, clipped to the image.
fn pixels(low: f64, high: f64, n: usize) -> std::ops::Range<usize> {
    let bound = |v: f64| v.clamp(0.0, n as f64) as usize;
    bound(low.floor())..bound(high.ceil())
}

/// Iterates over the pixels of the plane within a disc about (x, y), given by its squared radius in pixels.
pub(super) fn pixels_within<T>(plane: &Plane<T>, x: usize, y: usize, radius_squared: isize) -> impl Iterator<Item = (usize, usize)> {
    let (width, height) = (plane.width as isize, plane.height as isize);
    let radius = radius_squared.isqrt();
    let offsets = (-radius..=radius).flat_map(move |dy| (-radius..=radius).map(move |dx| (dx, dy)));
    let moved = offsets.filter(move |(dx, dy)| dx * dx + dy * dy <= radius_squared).map(move |(dx, dy)| (x as isize + dx, y as isize + dy));
    moved.filter(move |&(x, y)| x >= 0 && y >= 0 && x < width && y < height).map(|(x, y)| (x as usize, y as usize))
}

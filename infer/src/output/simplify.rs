//! Simplification of outlines: rings with fewer corners that never cross themselves or each other.

use crate::instances::boundary::{QUARTERS, Ring};

/// Maximum number of sides of a simplified nucleus, because the search for crossings compares all pairs; larger nuclei stay exact.
const MAX_SIDES: usize = 2048;

/// Simplifies rings by the algorithm of Douglas and Peucker (1973): dropped corners lie at most `tolerance` pixels from the lines between kept
/// corners.
///
/// If simplified rings cross, touch, change their orientation or leave the outer ring, the tolerance is halved; below a quarter of a pixel,
/// the rings stay exact.
pub fn simplified(rings: &[Ring], tolerance: f64) -> Vec<Ring> {
    let mut tolerance = tolerance * QUARTERS as f64;
    while tolerance >= 1.0 {
        let simple: Vec<Ring> = rings.iter().map(|ring| douglas_peucker(ring, tolerance)).collect();
        if is_sound(rings, &simple) {
            return simple;
        }
        tolerance /= 2.0;
    }
    rings.to_vec()
}

/// Simplifies one ring as two lines: from its least corner to the farthest corner, and back.
fn douglas_peucker(ring: &Ring, tolerance: f64) -> Ring {
    let n = ring.len();
    let start = (0..n).min_by_key(|&i| ring[i]).unwrap_or(0);
    let rotated: Ring = (0..=n).map(|i| ring[(start + i) % n]).collect();
    let square = |a: [i64; 2], b: [i64; 2]| (a[0] - b[0]).pow(2) + (a[1] - b[1]).pow(2);
    let farthest = (0..n).max_by_key(|&i| square(rotated[i], rotated[0])).unwrap_or(0);
    let mut kept = vec![false; n + 1];
    (kept[0], kept[farthest], kept[n]) = (true, true, true);
    let mut open = vec![(0, farthest), (farthest, n)];
    while let Some((from, to)) = open.pop() {
        let deviation = |i: usize| distance(rotated[i], rotated[from], rotated[to]);
        let Some(worst) = (from + 1..to).max_by(|&a, &b| deviation(a).total_cmp(&deviation(b))) else { continue };
        if deviation(worst) > tolerance {
            kept[worst] = true;
            open.extend([(from, worst), (worst, to)]);
        }
    }
    let simple: Ring = (0..n).filter(|&i| kept[i]).map(|i| rotated[i]).collect();
    if simple.len() < 3 { ring.clone() } else { simple }
}

/// Returns the distance of a point from the line segment between two others.
fn distance(p: [i64; 2], a: [i64; 2], b: [i64; 2]) -> f64 {
    let [px, py] = [0, 1].map(|i| (p[i] - a[i]) as f64);
    let [dx, dy] = [0, 1].map(|i| (b[i] - a[i]) as f64);
    let square = dx * dx + dy * dy;
    let along = if square > 0.0 { ((px * dx + py * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
    (px - along * dx).hypot(py - along * dy)
}

/// Reports whether simplified rings are a valid polygon with the structure of the exact rings: without crossings, of equal orientations, with
/// disjoint holes inside of the outer ring.
pub fn is_sound(exact: &[Ring], simple: &[Ring]) -> bool {
    let sides: usize = simple.iter().map(Vec::len).sum();
    let same_orientations = exact.iter().zip(simple).all(|(exact, simple)| twice_area(exact).signum() == twice_area(simple).signum());
    sides <= MAX_SIDES && same_orientations && !has_crossings(simple) && (1..simple.len()).all(|hole| is_inside_correctly(simple, hole))
}

/// Reports whether a hole lies inside of the outer ring and outside of all other holes.
fn is_inside_correctly(rings: &[Ring], hole: usize) -> bool {
    let corner = rings[hole][0];
    (0..rings.len()).all(|other| other == hole || encloses(&rings[other], corner) == (other == 0))
}

/// Returns twice the signed area of a ring.
fn twice_area(ring: &Ring) -> i64 {
    (0..ring.len()).map(|i| (ring[i], ring[(i + 1) % ring.len()])).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum()
}

/// Reports whether a ring encloses a point that lies on no side (even-odd rule).
fn encloses(ring: &Ring, [x, y]: [i64; 2]) -> bool {
    let crossed = |i: usize| {
        let (a, b) = (ring[i], ring[(i + 1) % ring.len()]);
        let to_the_right = orientation(a, b, [x, y]).signum() == if b[1] > a[1] { 1 } else { -1 };
        (a[1] <= y) != (b[1] <= y) && to_the_right
    };
    (0..ring.len()).filter(|&i| crossed(i)).count() % 2 == 1
}

/// Reports whether any two sides share a point other than their common corner.
fn has_crossings(rings: &[Ring]) -> bool {
    let sides = |ring: usize| {
        let corners = &rings[ring];
        (0..corners.len()).map(move |i| (ring, i, corners[i], corners[(i + 1) % corners.len()]))
    };
    let all: Vec<_> = (0..rings.len()).flat_map(sides).collect();
    all.iter().enumerate().any(|(k, &(ring, i, a, b))| {
        all[k + 1..].iter().any(|&(other, j, c, d)| {
            let n = rings[ring].len();
            if ring == other && j == i + 1 {
                folds_back(a, b, d)
            } else if ring == other && i == 0 && j + 1 == n {
                folds_back(c, a, b)
            } else {
                intersect(a, b, c, d)
            }
        })
    })
}

/// Reports whether the path from `a` over `b` to `c` reverses its direction.
fn folds_back(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> bool {
    orientation(a, b, c) == 0 && (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1]) < 0
}

/// Reports whether two line segments share a point.
fn intersect(a: [i64; 2], b: [i64; 2], c: [i64; 2], d: [i64; 2]) -> bool {
    let beside = |axis: usize| a[axis].max(b[axis]) < c[axis].min(d[axis]) || c[axis].max(d[axis]) < a[axis].min(b[axis]);
    if beside(0) || beside(1) {
        return false;
    }
    let apart = |a, b, c, d| orientation(a, b, c).signum() * orientation(a, b, d).signum() > 0;
    !apart(a, b, c, d) && !apart(c, d, a, b)
}

/// Returns the orientation of three points: the sign of twice the area of their triangle.
fn orientation(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> i64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stairs_are_simplified_to_a_line() {
        let stairs: Ring = (0..20).flat_map(|i| [[4 * i, 4 * i], [4 * i + 4, 4 * i]]).chain([[80, 80], [0, 80]]).collect();
        let simple = simplified(std::slice::from_ref(&stairs), 1.0);
        assert!(simple[0].len() <= 5, "{simple:?}");
        assert!((twice_area(&simple[0]) - twice_area(&stairs)).abs() * 20 <= twice_area(&stairs).abs());
        assert_eq!(simplified(std::slice::from_ref(&stairs), 0.0)[0], stairs);
    }

    #[test]
    fn invalid_polygons_are_detected() {
        let square = vec![[0, 0], [40, 0], [40, 40], [0, 40]];
        let hole = vec![[10, 10], [10, 30], [30, 30], [30, 10]];
        let exact = [square.clone(), hole.clone()];
        assert!(is_sound(&exact, &exact));
        let bow = vec![[0, 0], [40, 40], [40, 0], [0, 30]];
        let spike = vec![[0, 0], [40, 0], [40, 40], [40, -9], [0, 40]];
        let outside: Ring = hole.iter().map(|[x, y]| [x + 100, *y]).collect();
        let touching: Ring = hole.iter().map(|[x, y]| [x + 10, *y]).collect();
        for wrong in [[bow, hole.clone()], [spike, hole], [square.clone(), outside], [square, touching]] {
            assert!(!is_sound(&exact, &wrong), "{wrong:?}");
        }
    }
}

//! Rings with fewer corners that never cross themselves or each other.

use crate::instances::boundary::{QUARTERS, Ring};

/// Nuclei with more sides than this after thinning stay exact: looking for crossings compares all pairs.
const MOST_SIDES: usize = 2048;

/// The rings with corners left out that lie at most `tolerance` pixels from the lines between those that stay (Douglas and Peucker 1973).
///
/// Where rings would cross, touch, turn over or leave the outer one, the tolerance is halved, and at last the exact rings are given.
pub fn simplified(rings: &[Ring], tolerance: f64) -> Vec<Ring> {
    let mut within = tolerance * QUARTERS as f64;
    while within >= 1.0 {
        let thin: Vec<Ring> = rings.iter().map(|ring| thinned(ring, within)).collect();
        if is_sound(rings, &thin) {
            return thin;
        }
        within /= 2.0;
    }
    rings.to_vec()
}

/// From the least corner to the one farthest from it, and back.
fn thinned(ring: &Ring, within: f64) -> Ring {
    let n = ring.len();
    let start = (0..n).min_by_key(|&i| ring[i]).unwrap_or(0);
    let turned: Ring = (0..=n).map(|i| ring[(start + i) % n]).collect();
    let square = |a: [i64; 2], b: [i64; 2]| (a[0] - b[0]).pow(2) + (a[1] - b[1]).pow(2);
    let far = (0..n).max_by_key(|&i| square(turned[i], turned[0])).unwrap_or(0);
    let mut stays = vec![false; n + 1];
    (stays[0], stays[far], stays[n]) = (true, true, true);
    let mut open = vec![(0, far), (far, n)];
    while let Some((from, to)) = open.pop() {
        let away = |i: usize| distance(turned[i], turned[from], turned[to]);
        let Some(most) = (from + 1..to).max_by(|&a, &b| away(a).total_cmp(&away(b))) else { continue };
        if away(most) > within {
            stays[most] = true;
            open.extend([(from, most), (most, to)]);
        }
    }
    let thin: Ring = (0..n).filter(|&i| stays[i]).map(|i| turned[i]).collect();
    if thin.len() < 3 { ring.clone() } else { thin }
}

/// From a point to the line between two others, its ends included.
fn distance(p: [i64; 2], a: [i64; 2], b: [i64; 2]) -> f64 {
    let [px, py] = [0, 1].map(|i| (p[i] - a[i]) as f64);
    let [dx, dy] = [0, 1].map(|i| (b[i] - a[i]) as f64);
    let square = dx * dx + dy * dy;
    let along = if square > 0.0 { ((px * dx + py * dy) / square).clamp(0.0, 1.0) } else { 0.0 };
    (px - along * dx).hypot(py - along * dy)
}

/// Whether thinned rings are a polygon as the exact ones are: simple, turning the same way, holes inside of the outer ring and apart.
pub fn is_sound(exact: &[Ring], thin: &[Ring]) -> bool {
    let sides: usize = thin.iter().map(Vec::len).sum();
    let turns_alike = exact.iter().zip(thin).all(|(exact, thin)| twice_area(exact).signum() == twice_area(thin).signum());
    sides <= MOST_SIDES && turns_alike && !cross(thin) && (1..thin.len()).all(|hole| lies_right(thin, hole))
}

fn lies_right(rings: &[Ring], hole: usize) -> bool {
    let corner = rings[hole][0];
    (0..rings.len()).all(|other| other == hole || encloses(&rings[other], corner) == (other == 0))
}

fn twice_area(ring: &Ring) -> i64 {
    (0..ring.len()).map(|i| (ring[i], ring[(i + 1) % ring.len()])).map(|(a, b)| a[0] * b[1] - a[1] * b[0]).sum()
}

/// Even-odd rule; for points that lie on no side.
fn encloses(ring: &Ring, [x, y]: [i64; 2]) -> bool {
    let crossed = |i: usize| {
        let (a, b) = (ring[i], ring[(i + 1) % ring.len()]);
        let to_the_right = turn(a, b, [x, y]).signum() == if b[1] > a[1] { 1 } else { -1 };
        (a[1] <= y) != (b[1] <= y) && to_the_right
    };
    (0..ring.len()).filter(|&i| crossed(i)).count() % 2 == 1
}

/// Whether any two sides share a point that is not the corner between them.
fn cross(rings: &[Ring]) -> bool {
    let sides = |ring: usize| {
        let corners = &rings[ring];
        (0..corners.len()).map(move |i| (ring, i, corners[i], corners[(i + 1) % corners.len()]))
    };
    let all: Vec<_> = (0..rings.len()).flat_map(sides).collect();
    all.iter().enumerate().any(|(k, &(ring, i, a, b))| {
        all[k + 1..].iter().any(|&(other, j, c, d)| {
            let n = rings[ring].len();
            if ring == other && j == i + 1 {
                folds(a, b, d)
            } else if ring == other && i == 0 && j + 1 == n {
                folds(c, a, b)
            } else {
                meet(a, b, c, d)
            }
        })
    })
}

/// Whether the way from `a` over `b` to `c` goes back on itself.
fn folds(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> bool {
    turn(a, b, c) == 0 && (b[0] - a[0]) * (c[0] - b[0]) + (b[1] - a[1]) * (c[1] - b[1]) < 0
}

fn meet(a: [i64; 2], b: [i64; 2], c: [i64; 2], d: [i64; 2]) -> bool {
    let beside = |axis: usize| a[axis].max(b[axis]) < c[axis].min(d[axis]) || c[axis].max(d[axis]) < a[axis].min(b[axis]);
    if beside(0) || beside(1) {
        return false;
    }
    let apart = |a, b, c, d| turn(a, b, c).signum() * turn(a, b, d).signum() > 0;
    !apart(a, b, c, d) && !apart(c, d, a, b)
}

fn turn(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> i64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stairs_become_a_line_and_nothing_crosses() {
        let stairs: Ring = (0..20).flat_map(|i| [[4 * i, 4 * i], [4 * i + 4, 4 * i]]).chain([[80, 80], [0, 80]]).collect();
        let thin = simplified(std::slice::from_ref(&stairs), 1.0);
        assert!(thin[0].len() <= 5, "{thin:?}");
        assert!((twice_area(&thin[0]) - twice_area(&stairs)).abs() * 20 <= twice_area(&stairs).abs());
        assert_eq!(simplified(std::slice::from_ref(&stairs), 0.0)[0], stairs);
    }

    #[test]
    fn what_is_not_sound_is_seen() {
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

//! Outlines of the strokes of a scribble map: rings along pixel borders that enclose exactly the pixels of a 4-connected region.

use std::collections::BTreeMap;

use models::plane::Plane;

/// A corner of a pixel: column and row of the pixel below and to the right of it.
type Corner = (usize, usize);

/// East, south, west, north: each is a right turn from the one before.
const STEPS: [(isize, isize); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];

/// Regions of pixels for which `inside` holds, each as its rings, the outer one first; rings are closed by their first corner.
///
/// Filling the rings even-odd gives back the pixels.
pub(super) fn outlines(width: usize, height: usize, inside: impl Fn(usize, usize) -> bool) -> Vec<Vec<Vec<Corner>>> {
    let regions = regions(width, height, &inside);
    let mut edges = BTreeMap::<u32, BTreeMap<Corner, Vec<usize>>>::new();
    for y in 0..height {
        for x in 0..width {
            let id = regions.at(x, y);
            if id == 0 {
                continue;
            }
            let same = |dx: isize, dy: isize| {
                let (nx, ny) = (x.wrapping_add_signed(dx), y.wrapping_add_signed(dy));
                nx < width && ny < height && regions.at(nx, ny) == id
            };
            let own = edges.entry(id).or_default();
            // The region lies to the right of each edge.
            for (start, direction, beyond) in
                [((x, y), 0, (0, -1)), ((x + 1, y), 1, (1, 0)), ((x + 1, y + 1), 2, (0, 1)), ((x, y + 1), 3, (-1, 0))]
            {
                if !same(beyond.0, beyond.1) {
                    own.entry(start).or_default().push(direction);
                }
            }
        }
    }
    edges.into_values().map(rings).collect()
}

/// 4-connected regions, numbered from 1.
fn regions(width: usize, height: usize, inside: &impl Fn(usize, usize) -> bool) -> Plane<u32> {
    let mut labels = Plane::filled(width, height, 0);
    let mut next = 0;
    for start in 0..width * height {
        if labels.data[start] != 0 || !inside(start % width, start / width) {
            continue;
        }
        next += 1;
        let mut stack = vec![start];
        labels.data[start] = next;
        while let Some(i) = stack.pop() {
            let (x, y) = (i % width, i / width);
            for (dx, dy) in STEPS {
                let (nx, ny) = (x.wrapping_add_signed(dx), y.wrapping_add_signed(dy));
                if nx < width && ny < height && labels.data[ny * width + nx] == 0 && inside(nx, ny) {
                    labels.data[ny * width + nx] = next;
                    stack.push(ny * width + nx);
                }
            }
        }
    }
    labels
}

/// Joins edges to rings: at a corner that two pixels share diagonally, the right turn stays with the same pixel.
fn rings(mut edges: BTreeMap<Corner, Vec<usize>>) -> Vec<Vec<Corner>> {
    let mut rings = Vec::new();
    // The first corner in the order of columns lies on the outer ring.
    while let Some((&start, _)) = edges.first_key_value() {
        let mut ring: Vec<Corner> = Vec::new();
        let (mut at, mut heading) = (start, None);
        loop {
            let leaving = edges.get_mut(&at).expect("edges form rings");
            let turn = |direction: usize| heading.map_or(0, |h: usize| (direction + 4 - h + 3) % 4);
            let best = (0..leaving.len()).max_by_key(|&i| turn(leaving[i]) == 0).expect("an edge leaves");
            let direction = leaving.swap_remove(best);
            if leaving.is_empty() {
                edges.remove(&at);
            }
            if heading != Some(direction) {
                ring.push(at);
            }
            at = (at.0.wrapping_add_signed(STEPS[direction].0), at.1.wrapping_add_signed(STEPS[direction].1));
            heading = Some(direction);
            if at == start {
                break;
            }
        }
        ring.push(start);
        rings.push(ring);
    }
    rings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_an_outer_and_an_inner_outline() {
        let rows = ["####", "#..#", "####", "...."];
        let found = outlines(4, 4, |x, y| rows[y].as_bytes()[x] == b'#');
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].len(), 2);
        assert_eq!(found[0][0], [(0, 0), (4, 0), (4, 3), (0, 3), (0, 0)]);
        assert_eq!(found[0][1].len(), 5);
    }

    #[test]
    fn pixels_that_touch_at_a_corner_are_two_regions() {
        let found = outlines(2, 2, |x, y| x == y);
        assert_eq!(found, [vec![vec![(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]], vec![vec![(1, 1), (2, 1), (2, 2), (1, 2), (1, 1)]]]);
    }
}

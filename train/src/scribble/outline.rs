//! Boundary tracing: polygon rings along pixel borders that enclose exactly the pixels of a 4-connected region.

use std::collections::BTreeMap;

use models::plane::Plane;

/// Pixel corner, given by the column and the row of the pixel to its lower right.
type Corner = (usize, usize);

/// Steps east, south, west and north, each of which is a right turn from the previous one.
const STEPS: [(isize, isize); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];

/// Traces the boundaries of all regions of pixels for which `inside` holds; returns the rings of each region, the outer one first.
///
/// Rings end with their first corner. Filling the rings of a region by the even-odd rule restores its pixels.
pub(super) fn outlines(width: usize, height: usize, inside: impl Fn(usize, usize) -> bool) -> Vec<Vec<Vec<Corner>>> {
    let regions = regions(width, height, &inside);
    let mut edges = BTreeMap::<u32, BTreeMap<Corner, Vec<usize>>>::new();
    for y in 0..height {
        for x in 0..width {
            let id = regions.at(x, y);
            if id == 0 {
                continue;
            }
            let is_same_region = |dx: isize, dy: isize| {
                let (nx, ny) = (x.wrapping_add_signed(dx), y.wrapping_add_signed(dy));
                nx < width && ny < height && regions.at(nx, ny) == id
            };
            let own_edges = edges.entry(id).or_default();
            // The edges run clockwise: the region is to the right of each edge.
            for (start, direction, neighbour) in
                [((x, y), 0, (0, -1)), ((x + 1, y), 1, (1, 0)), ((x + 1, y + 1), 2, (0, 1)), ((x, y + 1), 3, (-1, 0))]
            {
                if !is_same_region(neighbour.0, neighbour.1) {
                    own_edges.entry(start).or_default().push(direction);
                }
            }
        }
    }
    edges.into_values().map(rings).collect()
}

/// Labels 4-connected regions with numbers from 1 in raster order.
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

/// Joins edges into rings. At a corner that two pixels share diagonally, the trace turns right, which stays with the same pixel.
fn rings(mut edges: BTreeMap<Corner, Vec<usize>>) -> Vec<Vec<Corner>> {
    let mut rings = Vec::new();
    // The leftmost corner is on the outer ring.
    while let Some((&start, _)) = edges.first_key_value() {
        let mut ring: Vec<Corner> = Vec::new();
        let (mut at, mut last_direction) = (start, None);
        loop {
            let outgoing = edges.get_mut(&at).expect("edges form rings");
            let turn = |direction: usize| last_direction.map_or(0, |h: usize| (direction + 4 - h + 3) % 4);
            let best = (0..outgoing.len()).max_by_key(|&i| turn(outgoing[i]) == 0).expect("an edge leaves");
            let direction = outgoing.swap_remove(best);
            if outgoing.is_empty() {
                edges.remove(&at);
            }
            if last_direction != Some(direction) {
                ring.push(at);
            }
            at = (at.0.wrapping_add_signed(STEPS[direction].0), at.1.wrapping_add_signed(STEPS[direction].1));
            last_direction = Some(direction);
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
    fn a_region_with_a_hole_has_an_outer_and_an_inner_ring() {
        let rows = ["####", "#..#", "####", "...."];
        let found = outlines(4, 4, |x, y| rows[y].as_bytes()[x] == b'#');
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].len(), 2);
        assert_eq!(found[0][0], [(0, 0), (4, 0), (4, 3), (0, 3), (0, 0)]);
        assert_eq!(found[0][1].len(), 5);
    }

    #[test]
    fn pixels_that_touch_only_at_a_corner_are_two_regions() {
        let found = outlines(2, 2, |x, y| x == y);
        assert_eq!(found, [vec![vec![(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]], vec![vec![(1, 1), (2, 1), (2, 2), (1, 2), (1, 1)]]]);
    }
}

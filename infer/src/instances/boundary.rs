//! Boundaries of components as rings, computed from runs; filling of holes.
//!
//! The vertical sides of runs are the edges. Left sides point upwards and right sides downwards, so that the component lies on the right of
//! its boundary as seen on the screen. On the line between two rows, edge ends are sorted by column and paired, and each pair is joined by
//! a horizontal side. Where two pixels touch only at a corner, left sides sort before right sides, which keeps the component in one piece
//! (8-connectivity). The shared corner would occur twice in the ring; it is replaced by two vertices a quarter of a pixel away, so that
//! rings never touch themselves.

use super::runs::{Run, rows};

/// Corners of a closed boundary, in quarters of a pixel from the corner of the image; the first corner is not repeated.
pub type Ring = Vec<[i64; 2]>;

/// Units of a [`Ring`] per pixel.
pub const QUARTERS: i64 = 4;

/// Returns the rings of a component's sorted runs: the outer boundary, clockwise on the screen, then holes, counterclockwise.
pub fn rings(runs: &[Run]) -> Vec<Ring> {
    let links = Links::of(runs);
    links.loops().iter().map(|edges| links.ring(edges)).collect()
}

/// Returns sorted runs with all holes filled: the pixels that the outer boundary encloses.
pub fn fill_holes(runs: &[Run]) -> Vec<Run> {
    let links = Links::of(runs);
    let mut outer = vec![false; links.next.len()];
    links.walk(0, |edge| outer[edge] = true);
    let mut fill_holes = Vec::with_capacity(runs.len());
    let sides: Vec<(u32, u32)> = (0..outer.len()).filter(|&edge| outer[edge]).map(|edge| (runs[edge / 2].y, links.x(edge))).collect();
    fill_holes.extend(sides.chunks_exact(2).map(|pair| Run { y: pair[0].0, x0: pair[0].1, x1: pair[1].1 }));
    fill_holes
}

/// Linked edges of a component: edge `2 i` is the left side of run `i`, edge `2 i + 1` its right side.
struct Links<'a> {
    runs: &'a [Run],
    /// Successor of each edge on its ring.
    next: Vec<usize>,
    /// True if an edge begins, or ends, at a corner where two pixels touch.
    pinched: Vec<[bool; 2]>,
}

/// End of an edge on the line between two rows.
#[derive(Clone, Copy)]
struct End {
    x: u32,
    is_right: bool,
    is_above: bool,
    edge: usize,
}

impl End {
    /// Reports whether the edge points to the line.
    fn is_incoming(&self) -> bool {
        self.is_right == self.is_above
    }
}

impl<'a> Links<'a> {
    fn of(runs: &'a [Run]) -> Self {
        let mut links = Self { runs, next: vec![0; runs.len() * 2], pinched: vec![[false; 2]; runs.len() * 2] };
        let mut ends: Vec<End> = Vec::new();
        let mut first = 0;
        for row in rows(runs) {
            let below = |is_above| {
                let sides = row.iter().enumerate().flat_map(move |(i, run)| [(2 * (first + i), run.x0), (2 * (first + i) + 1, run.x1)]);
                sides.map(move |(edge, x)| End { x, is_right: edge % 2 == 1, is_above, edge })
            };
            ends.extend(below(false));
            links.link_line(&mut ends);
            ends.extend(below(true));
            first += row.len();
        }
        links.link_line(&mut ends);
        links
    }

    /// Links the ends on one line in pairs, and empties the list.
    fn link_line(&mut self, ends: &mut Vec<End>) {
        ends.sort_unstable_by_key(|end| (end.x, end.is_right));
        for pair in ends.chunks_exact(2) {
            let (from, to) = if pair[0].is_incoming() { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
            self.next[from.edge] = to.edge;
        }
        for pair in ends.windows(2).skip(1).step_by(2).filter(|pair| pair[0].x == pair[1].x) {
            for end in pair {
                self.pinched[end.edge][usize::from(end.is_incoming())] = true;
            }
        }
        ends.clear();
    }

    /// Returns the edges of every ring. The first ring contains the left side of the first run, so it is the outer boundary.
    fn loops(&self) -> Vec<Vec<usize>> {
        let mut seen = vec![false; self.next.len()];
        let mut loops = Vec::new();
        for start in 0..self.next.len() {
            if !seen[start] {
                let mut edges = Vec::new();
                self.walk(start, |edge| {
                    seen[edge] = true;
                    edges.push(edge);
                });
                loops.push(edges);
            }
        }
        loops
    }

    /// Visits the edges of a ring.
    fn walk(&self, start: usize, mut visit: impl FnMut(usize)) {
        let mut edge = start;
        loop {
            visit(edge);
            edge = self.next[edge];
            if edge == start {
                return;
            }
        }
    }

    /// Returns the column of an edge.
    fn x(&self, edge: usize) -> u32 {
        let run = &self.runs[edge / 2];
        if edge.is_multiple_of(2) { run.x0 } else { run.x1 }
    }

    /// Returns the corners of a ring: two for every horizontal side, moved by a quarter of a pixel at shared corners.
    fn ring(&self, edges: &[usize]) -> Ring {
        let mut ring = Ring::new();
        for (i, &edge) in edges.iter().enumerate() {
            let next = edges[(i + 1) % edges.len()];
            let (from_x, to_x) = (i64::from(self.x(edge)) * QUARTERS, i64::from(self.x(next)) * QUARTERS);
            if from_x == to_x {
                continue;
            }
            let (down, next_down) = (i64::from(edge % 2 == 1) * 2 - 1, i64::from(next % 2 == 1) * 2 - 1);
            let y = (i64::from(self.runs[edge / 2].y) + i64::from(down > 0)) * QUARTERS;
            let along = (to_x - from_x).signum();
            if self.pinched[edge][1] {
                ring.extend([[from_x, y - down], [from_x + along, y]]);
            } else {
                ring.push([from_x, y]);
            }
            if self.pinched[next][0] {
                ring.extend([[to_x - along, y], [to_x, y + next_down]]);
            } else {
                ring.push([to_x, y]);
            }
        }
        ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(rows: &[&str]) -> Vec<Run> {
        let mut runs = Vec::new();
        for (y, row) in rows.iter().enumerate() {
            let values: Vec<u8> = row.bytes().map(|byte| u8::from(byte == b'#')).collect();
            super::super::runs::runs_of_row(y as u32, &values, 1, |run| runs.push(run));
        }
        runs
    }

    #[test]
    fn a_square_has_four_corners_clockwise_on_the_screen() {
        assert_eq!(rings(&runs(&["##", "##"])), [vec![[0, 0], [8, 0], [8, 8], [0, 8]]]);
    }

    #[test]
    fn a_shared_corner_is_replaced_by_two_diagonals() {
        let expected = vec![[0, 0], [4, 0], [4, 3], [5, 4], [8, 4], [8, 8], [4, 8], [4, 5], [3, 4], [0, 4]];
        assert_eq!(rings(&runs(&["#.", ".#"])), [expected]);
    }

    #[test]
    fn filling_removes_a_hole() {
        let ring = runs(&["####", "#..#", "#.##", "###."]);
        assert_eq!(rings(&ring).len(), 2);
        let expected = runs(&["####", "####", "####", "###."]);
        assert_eq!(fill_holes(&ring), expected);
    }
}

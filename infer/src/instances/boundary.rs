//! The boundary of a component as rings, from its runs; filling.
//!
//! The vertical sides of runs are the edges: left sides are walked upwards, right sides downwards, so that pixels lie on the right
//! hand of the walk as it is seen on the screen. On the line between two rows, edge ends sorted by column pair up, and each pair is
//! joined by a horizontal side. Where two pixels touch at a corner only, left sides sort before right ones: this keeps the
//! component in one piece, and the corner, which would be passed twice, is cut a quarter of a pixel away on both sides, so that
//! rings never touch themselves.

use super::runs::{Run, rows};

/// Vertices in quarters of a pixel from the corner of the image, without repeating the first; only true corners.
pub type Ring = Vec<[i64; 2]>;

/// Quarters in a pixel.
pub const QUARTERS: i64 = 4;

/// Rings of a component's sorted runs: the outer boundary first, clockwise on the screen; then holes, the other way round.
pub fn rings(runs: &[Run]) -> Vec<Ring> {
    let links = Links::of(runs);
    links.loops().iter().map(|edges| links.ring(edges)).collect()
}

/// The runs with all holes filled: what the outer boundary encloses.
pub fn filled(runs: &[Run]) -> Vec<Run> {
    let links = Links::of(runs);
    let mut outer = vec![false; links.next.len()];
    links.walk(0, |edge| outer[edge] = true);
    let mut filled = Vec::with_capacity(runs.len());
    let sides: Vec<(u32, u32)> = (0..outer.len()).filter(|&edge| outer[edge]).map(|edge| (runs[edge / 2].y, links.x(edge))).collect();
    filled.extend(sides.chunks_exact(2).map(|pair| Run { y: pair[0].0, x0: pair[0].1, x1: pair[1].1 }));
    filled
}

/// Edge `2 i` is the left side of run `i`, edge `2 i + 1` its right side.
struct Links<'a> {
    runs: &'a [Run],
    /// The edge that follows each edge.
    next: Vec<usize>,
    /// Whether an edge begins, or ends, where pixels touch at a corner only.
    pinched: Vec<[bool; 2]>,
}

/// The end of an edge on the line between two rows.
#[derive(Clone, Copy)]
struct End {
    x: u32,
    is_right: bool,
    is_above: bool,
    edge: usize,
}

impl End {
    /// Whether the walk arrives at the line by this edge.
    fn arrives(&self) -> bool {
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
            links.join(&mut ends);
            ends.extend(below(true));
            first += row.len();
        }
        links.join(&mut ends);
        links
    }

    /// Pairs the ends on one line, and empties the list.
    fn join(&mut self, ends: &mut Vec<End>) {
        ends.sort_unstable_by_key(|end| (end.x, end.is_right));
        for pair in ends.chunks_exact(2) {
            let (from, to) = if pair[0].arrives() { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
            self.next[from.edge] = to.edge;
        }
        for pair in ends.windows(2).skip(1).step_by(2).filter(|pair| pair[0].x == pair[1].x) {
            for end in pair {
                self.pinched[end.edge][usize::from(end.arrives())] = true;
            }
        }
        ends.clear();
    }

    /// The edges of every closed walk; the first holds the left side of the first run, so it is the outer boundary.
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

    fn x(&self, edge: usize) -> u32 {
        let run = &self.runs[edge / 2];
        if edge.is_multiple_of(2) { run.x0 } else { run.x1 }
    }

    /// Vertices of a closed walk: two at every horizontal side, four quarters cut off at pinched ends.
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
            super::super::runs::of_row(y as u32, &values, 1, |run| runs.push(run));
        }
        runs
    }

    #[test]
    fn a_square_has_four_corners_clockwise_on_the_screen() {
        assert_eq!(rings(&runs(&["##", "##"])), [vec![[0, 0], [8, 0], [8, 8], [0, 8]]]);
    }

    #[test]
    fn a_corner_that_is_passed_twice_is_cut_on_both_sides() {
        let expected = vec![[0, 0], [4, 0], [4, 3], [5, 4], [8, 4], [8, 8], [4, 8], [4, 5], [3, 4], [0, 4]];
        assert_eq!(rings(&runs(&["#.", ".#"])), [expected]);
    }

    #[test]
    fn a_ring_has_a_hole_and_filling_closes_it() {
        let ring = runs(&["####", "#..#", "#.##", "###."]);
        assert_eq!(rings(&ring).len(), 2);
        let expected = runs(&["####", "####", "####", "###."]);
        assert_eq!(filled(&ring), expected);
    }
}

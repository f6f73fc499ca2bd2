//! Exact Euclidean distances to the background, in integers (Meijster, Roerdink & Hesselink, 2000).

use crate::plane::Plane;

/// Distances are counted in sixteenths of a pixel.
pub const UNITS: u32 = 16;

/// The largest box that [`distances`] takes: distances in it fit in 16 bits.
pub const LARGEST_BOX_PX: usize = 1 << 24;

/// `floor(16 d)` for the Euclidean distance `d` of each pixel to the nearest one outside; what lies beyond the box is outside.
pub fn distances(inside: &Plane<bool>) -> Plane<u16> {
    assert!(inside.data.len() <= LARGEST_BOX_PX && !inside.data.is_empty(), "distances do not fit in 16 bits");
    let mut up_down = inside.map(|&inside| u16::from(inside));
    within_columns(&mut up_down);
    let mut row = Row::default();
    let mut distance = Plane::filled(inside.width, inside.height, 0);
    for y in 0..inside.height {
        let mut from = 0;
        // Behind the first background of the row on either side nothing is nearer than that.
        for equal in inside.row(y).chunk_by(|a, b| a == b) {
            let run = from..from + equal.len();
            from = run.end;
            if equal[0] {
                row.distances(&up_down.row(y)[run.clone()], &mut distance.row_mut(y)[run]);
            }
        }
    }
    distance
}

/// Ones to distances to the next zero above or below, or to what lies beyond the first and the last row.
fn within_columns(up_down: &mut Plane<u16>) {
    let width = up_down.width;
    for y in 1..up_down.height {
        let (above, row) = up_down.data[(y - 1) * width..(y + 1) * width].split_at_mut(width);
        row.iter_mut().zip(above).for_each(|(g, above)| *g = if *g > 0 { above.saturating_add(1) } else { 0 });
    }
    up_down.row_mut(up_down.height - 1).iter_mut().for_each(|g| *g = (*g).min(1));
    for y in (1..up_down.height).rev() {
        let (row, below) = up_down.data[(y - 1) * width..(y + 1) * width].split_at_mut(width);
        row.iter_mut().zip(below).for_each(|(g, below)| *g = (*g).min(below.saturating_add(1)));
    }
}

/// Pixels of a run for which all candidates are tried: their squares fit in 16 bits.
const SHORT: usize = 126;

/// `k²` for `k` from `-SHORT - 1` to `SHORT + 1`.
const SQUARES: [i16; 2 * SHORT + 3] = {
    let (mut squares, mut i) = ([0; 2 * SHORT + 3], 0);
    while i < squares.len() {
        let k = i as i16 - (SHORT as i16 + 1);
        squares[i] = k * k;
        i += 1;
    }
    squares
};

/// `floor(16 sqrt(d))` for every square of a distance in a short run: half of the run is the largest.
const ROOTS: [u16; (SHORT / 2 + 1).pow(2) + 1] = {
    let (mut roots, mut i) = ([0; (SHORT / 2 + 1).pow(2) + 1], 0);
    while i < roots.len() {
        roots[i] = (i as u32 * UNITS * UNITS).isqrt() as u16;
        i += 1;
    }
    roots
};

/// One run of a row, with background on both sides.
#[derive(Default)]
struct Row {
    /// Squares of the distances of a short run.
    nearest: Vec<i16>,
    /// Distances within columns, with a column outside on both sides.
    g: Vec<i64>,
    /// The lower envelope of the parabolas `(x - i)² + g(i)²`, and where each begins.
    envelope: Vec<(usize, usize)>,
}

impl Row {
    fn distances(&mut self, up_down: &[u16], distance: &mut [u16]) {
        if up_down.len() <= SHORT {
            self.short(up_down, distance);
        } else {
            self.long(up_down, distance);
        }
    }

    /// The least of all parabolas at every pixel.
    fn short(&mut self, up_down: &[u16], distance: &mut [u16]) {
        let n = up_down.len();
        let from = |i: usize| &SQUARES[SHORT + 2 - i..][..n];
        self.nearest.clear();
        self.nearest.extend(from(0).iter().zip(from(n + 1)).map(|(left, right)| left.min(right)));
        for (i, &g) in (1..).zip(up_down) {
            let g = g.min(n as u16 + 1) as i16;
            let high = g * g;
            self.nearest.iter_mut().zip(from(i)).for_each(|(nearest, along)| *nearest = (*nearest).min(along + high));
        }
        distance.iter_mut().zip(&self.nearest).for_each(|(d, &nearest)| *d = ROOTS[nearest as usize]);
    }

    fn long(&mut self, up_down: &[u16], distance: &mut [u16]) {
        self.g.clear();
        self.g.push(0);
        self.g.extend(up_down.iter().map(|&g| i64::from(g)));
        self.g.push(0);
        self.envelope.clear();
        self.envelope.push((0, 0));
        for i in 1..self.g.len() {
            while self.envelope.last().is_some_and(|&(other, from)| self.squared(from, other) > self.squared(from, i)) {
                self.envelope.pop();
            }
            let from = self.envelope.last().map_or(0, |&(other, _)| self.first_nearer(other, i));
            if from < self.g.len() {
                self.envelope.push((i, from));
            }
        }
        for x in (1..=distance.len()).rev() {
            while self.envelope.last().is_some_and(|&(_, from)| from > x) {
                self.envelope.pop();
            }
            let &(i, _) = self.envelope.last().expect("the first parabola begins at 0");
            distance[x - 1] = (self.squared(x, i) as u32 * UNITS * UNITS).isqrt() as u16;
        }
    }

    fn squared(&self, x: usize, i: usize) -> i64 {
        let along = x as i64 - i as i64;
        along * along + self.g[i] * self.g[i]
    }

    /// The first position at which the parabola at `later` lies below that at `i`.
    fn first_nearer(&self, i: usize, later: usize) -> usize {
        let (a, b) = (i as i64, later as i64);
        ((b * b - a * a + self.g[later] * self.g[later] - self.g[i] * self.g[i]).div_euclid(2 * (b - a)) + 1) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By looking at every pixel of the box and at a frame of background around it.
    fn reference(inside: &Plane<bool>) -> Plane<u16> {
        let (width, height) = (inside.width as i64, inside.height as i64);
        let is_inside = |x: i64, y: i64| x >= 0 && y >= 0 && x < width && y < height && inside.at(x as usize, y as usize);
        let nearest = |x: i64, y: i64| {
            let all = (-1..=height).flat_map(|v| (-1..=width).map(move |u| (u, v)));
            all.filter(|&(u, v)| !is_inside(u, v)).map(|(u, v)| (u - x).pow(2) + (v - y).pow(2)).min().unwrap()
        };
        let data = (0..width * height).map(|i| (nearest(i % width, i / width) as f64).sqrt() * f64::from(UNITS)).map(|d| d.floor() as u16);
        Plane { width: inside.width, height: inside.height, data: data.collect() }
    }

    /// One pixel of `dense` is outside.
    fn scattered(width: usize, height: usize, seed: u64, dense: u64) -> Plane<bool> {
        let mut state = seed | 1;
        let data = (0..width * height).map(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            !(state >> 33).is_multiple_of(dense)
        });
        Plane { width, height, data: data.collect() }
    }

    proptest! {
        #[test]
        fn distances_are_those_of_a_search_over_all_pixels(width in 1usize..24, height in 1usize..24, seed in any::<u64>(), dense in 1u64..40) {
            let inside = scattered(width, height, seed, dense);
            prop_assert_eq!(distances(&inside), reference(&inside));
        }

        #[test]
        fn short_runs_and_long_ones_are_measured_alike(width in 100usize..160, height in 1usize..9, seed in any::<u64>(), dense in 100u64..2000) {
            let inside = scattered(width, height, seed, dense);
            prop_assert_eq!(distances(&inside), reference(&inside));
        }
    }
}

//! Exact Euclidean distance transform in integers (Meijster, Roerdink, Hesselink, "A General Algorithm for Computing Distance Transforms in
//! Linear Time", ISMM 2000): distances within columns first, then the lower envelope of parabolas within each row.

use crate::plane::Plane;

/// Unit of distances: sixteenths of a pixel.
pub const UNITS: u32 = 16;

/// Largest area in pixels of a mask for [`distances`], because distances must fit in 16 bits.
pub const LARGEST_BOX_PX: usize = 1 << 24;

/// Returns `floor(16 d)` for the Euclidean distance `d` in pixels from each pixel to the nearest background pixel. Pixels beyond the border
/// count as background.
///
/// # Panics
/// The mask is empty or larger than [`LARGEST_BOX_PX`].
pub fn distances(inside: &Plane<bool>) -> Plane<u16> {
    assert!(inside.data.len() <= LARGEST_BOX_PX && !inside.data.is_empty(), "distances do not fit in 16 bits");
    let mut column_distance = inside.map(|&inside| u16::from(inside));
    within_columns(&mut column_distance);
    let mut row = Row::default();
    let mut distance = Plane::filled(inside.width, inside.height, 0);
    for y in 0..inside.height {
        let mut from = 0;
        // Runs of foreground are independent, because the background next to a run is nearer than anything beyond it.
        for equal in inside.row(y).chunk_by(|a, b| a == b) {
            let run = from..from + equal.len();
            from = run.end;
            if equal[0] {
                row.distances(&column_distance.row(y)[run.clone()], &mut distance.row_mut(y)[run]);
            }
        }
    }
    distance
}

/// Replaces ones by the distance to the nearest zero above or below; rows beyond the first and the last are zeros.
fn within_columns(distance: &mut Plane<u16>) {
    let width = distance.width;
    for y in 1..distance.height {
        let (above, row) = distance.data[(y - 1) * width..(y + 1) * width].split_at_mut(width);
        row.iter_mut().zip(above).for_each(|(g, above)| *g = if *g > 0 { above.saturating_add(1) } else { 0 });
    }
    distance.row_mut(distance.height - 1).iter_mut().for_each(|g| *g = (*g).min(1));
    for y in (1..distance.height).rev() {
        let (row, below) = distance.data[(y - 1) * width..(y + 1) * width].split_at_mut(width);
        row.iter_mut().zip(below).for_each(|(g, below)| *g = (*g).min(below.saturating_add(1)));
    }
}

/// Longest run that is computed by brute force; squared distances in such a run fit in 16 bits.
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

/// `floor(16 sqrt(d))` for every squared distance `d` in a short run, whose largest distance is half of its length.
const ROOTS: [u16; (SHORT / 2 + 1).pow(2) + 1] = {
    let (mut roots, mut i) = ([0; (SHORT / 2 + 1).pow(2) + 1], 0);
    while i < roots.len() {
        roots[i] = (i as u32 * UNITS * UNITS).isqrt() as u16;
        i += 1;
    }
    roots
};

/// Workspace for one run of foreground pixels in a row, with background on both sides.
#[derive(Default)]
struct Row {
    /// Squared distances in a short run.
    nearest: Vec<i16>,
    /// Distances within columns, `g(i)`, with a background column on both sides.
    g: Vec<i64>,
    /// Lower envelope of the parabolas `(x - i)² + g(i)²`: index `i` and first position of each.
    envelope: Vec<(usize, usize)>,
}

impl Row {
    fn distances(&mut self, column_distance: &[u16], distance: &mut [u16]) {
        if column_distance.len() <= SHORT {
            self.short(column_distance, distance);
        } else {
            self.long(column_distance, distance);
        }
    }

    /// Computes the minimum over all parabolas at every pixel.
    fn short(&mut self, column_distance: &[u16], distance: &mut [u16]) {
        let n = column_distance.len();
        let from = |i: usize| &SQUARES[SHORT + 2 - i..][..n];
        self.nearest.clear();
        self.nearest.extend(from(0).iter().zip(from(n + 1)).map(|(left, right)| left.min(right)));
        for (i, &g) in (1..).zip(column_distance) {
            let g = g.min(n as u16 + 1) as i16;
            let high = g * g;
            self.nearest.iter_mut().zip(from(i)).for_each(|(nearest, along)| *nearest = (*nearest).min(along + high));
        }
        distance.iter_mut().zip(&self.nearest).for_each(|(d, &nearest)| *d = ROOTS[nearest as usize]);
    }

    /// Builds the lower envelope from left to right and evaluates it from right to left.
    fn long(&mut self, column_distance: &[u16], distance: &mut [u16]) {
        self.g.clear();
        self.g.push(0);
        self.g.extend(column_distance.iter().map(|&g| i64::from(g)));
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

    /// Value of parabola `i` at position `x`: the squared distance.
    fn squared(&self, x: usize, i: usize) -> i64 {
        let along = x as i64 - i as i64;
        along * along + self.g[i] * self.g[i]
    }

    /// First position at which the parabola `later` lies below the parabola `i`.
    fn first_nearer(&self, i: usize, later: usize) -> usize {
        let (a, b) = (i as i64, later as i64);
        ((b * b - a * a + self.g[later] * self.g[later] - self.g[i] * self.g[i]).div_euclid(2 * (b - a)) + 1) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Naive implementation: a search over all pixels and a frame of background around them.
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

    /// A mask in which one pixel of `dense` is background.
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
        fn short_and_long_runs_give_exact_distances(width in 100usize..160, height in 1usize..9, seed in any::<u64>(), dense in 100u64..2000) {
            let inside = scattered(width, height, seed, dense);
            prop_assert_eq!(distances(&inside), reference(&inside));
        }
    }
}

//! Exact Euclidean distances to the background, in integers (Meijster, Roerdink & Hesselink, 2000).

use crate::plane::Plane;

/// Distances are counted in sixteenths of a pixel.
pub const UNITS: u32 = 16;

/// The largest box that [`distances`] takes: distances in it fit in 16 bits.
pub const LARGEST_BOX_PX: usize = 1 << 24;

/// `floor(16 d)` for the Euclidean distance `d` of each pixel to the nearest one outside; what lies beyond the box is outside.
pub fn distances(inside: &Plane<bool>) -> Plane<u16> {
    assert!(inside.data.len() <= LARGEST_BOX_PX && !inside.data.is_empty(), "distances do not fit in 16 bits");
    let (width, height) = (inside.width, inside.height);
    let mut up_down = inside.map(|&inside| u16::from(inside));
    for i in width..width * height {
        if up_down.data[i] > 0 {
            up_down.data[i] = up_down.data[i - width].saturating_add(1);
        }
    }
    up_down.row_mut(height - 1).iter_mut().for_each(|g| *g = (*g).min(1));
    for i in (0..width * (height - 1)).rev() {
        up_down.data[i] = up_down.data[i].min(up_down.data[i + width].saturating_add(1));
    }
    let mut row = Row::default();
    let mut distance = Plane::filled(width, height, 0);
    for y in 0..height {
        row.distances(up_down.row(y), distance.row_mut(y));
    }
    distance
}

/// The lower envelope of one row's parabolas `(x - i)² + g(i)²`.
#[derive(Default)]
struct Row {
    /// Distances within columns, with a column outside on both sides.
    g: Vec<i64>,
    /// Parabolas of the envelope, and where each begins.
    envelope: Vec<(usize, usize)>,
}

impl Row {
    fn distances(&mut self, up_down: &[u16], distance: &mut [u16]) {
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

    proptest! {
        #[test]
        fn distances_are_those_of_a_search_over_all_pixels(width in 1usize..24, height in 1usize..24, seed in any::<u64>(), dense in 1u64..40) {
            let mut state = seed | 1;
            let data = (0..width * height).map(|_| {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                (state >> 33) % dense > 0
            });
            let inside = Plane { width, height, data: data.collect() };
            prop_assert_eq!(distances(&inside), reference(&inside));
        }
    }
}

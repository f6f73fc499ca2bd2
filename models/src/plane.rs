//! A single-channel picture in memory: probabilities, scribbles, labels.

use support::{Result, bail};

/// `height` rows of `width` values, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane<T> {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` values, row by row.
    pub data: Vec<T>,
}

impl<T: Clone> Plane<T> {
    /// A plane with the same value everywhere.
    pub fn filled(width: usize, height: usize, value: T) -> Self {
        Self { width, height, data: vec![value; width * height] }
    }

    /// A plane over existing values.
    pub fn new(width: usize, height: usize, data: Vec<T>) -> Result<Self> {
        if data.len() != width * height {
            bail!("a plane of {width} x {height} needs {} values, found {}", width * height, data.len());
        }
        Ok(Self { width, height, data })
    }

    /// One row.
    pub fn row(&self, y: usize) -> &[T] {
        &self.data[y * self.width..(y + 1) * self.width]
    }

    /// One row, to write.
    pub fn row_mut(&mut self, y: usize) -> &mut [T] {
        &mut self.data[y * self.width..(y + 1) * self.width]
    }

    /// The same picture with every value replaced.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Plane<U> {
        Plane { width: self.width, height: self.height, data: self.data.iter().map(f).collect() }
    }
}

impl<T: Copy> Plane<T> {
    /// The value at column `x` of row `y`.
    pub fn at(&self, x: usize, y: usize) -> T {
        self.data[y * self.width + x]
    }
}

/// Index into `0..n` of position `i` under reflect-101 padding (`… 2 1 | 0 1 2 … n-1 | n-2 …`), for any `i`.
pub fn reflect_101(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n as isize - 1);
    let i = i.rem_euclid(period);
    (if i >= n as isize { period - i } else { i }) as usize
}

#[cfg(test)]
mod tests {
    use super::reflect_101;

    #[test]
    fn reflection_does_not_repeat_the_border() {
        let seen: Vec<usize> = (-4..8).map(|i| reflect_101(i, 4)).collect();
        assert_eq!(seen, [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(reflect_101(-7, 1), 0);
    }
}

//! A single-channel image in memory, such as a probability map, a mask or a label map.

use support::{Result, bail};

/// A single-channel image, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane<T> {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// `width * height` values, row by row.
    pub data: Vec<T>,
}

impl<T: Clone> Plane<T> {
    /// Creates a plane with one value in every pixel.
    pub fn filled(width: usize, height: usize, value: T) -> Self {
        Self { width, height, data: vec![value; width * height] }
    }

    /// Wraps existing values.
    ///
    /// # Errors
    /// The number of values is not `width * height`.
    pub fn new(width: usize, height: usize, data: Vec<T>) -> Result<Self> {
        if data.len() != width * height {
            bail!("a plane of {width} x {height} needs {} values, found {}", width * height, data.len());
        }
        Ok(Self { width, height, data })
    }

    /// Returns row `y`.
    pub fn row(&self, y: usize) -> &[T] {
        &self.data[y * self.width..(y + 1) * self.width]
    }

    /// Returns row `y` for writing.
    pub fn row_mut(&mut self, y: usize) -> &mut [T] {
        &mut self.data[y * self.width..(y + 1) * self.width]
    }

    /// Applies a function to every value.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Plane<U> {
        Plane { width: self.width, height: self.height, data: self.data.iter().map(f).collect() }
    }
}

impl<T: Copy> Plane<T> {
    /// Returns the value in column `x` of row `y`.
    pub fn at(&self, x: usize, y: usize) -> T {
        self.data[y * self.width + x]
    }
}

/// Maps any position `i` into `0..n` by reflection without repeating the border pixel (reflect-101: `… 2 1 | 0 1 2 … n-1 | n-2 …`).
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
    fn reflection_does_not_repeat_the_border_pixel() {
        let seen: Vec<usize> = (-4..8).map(|i| reflect_101(i, 4)).collect();
        assert_eq!(seen, [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(reflect_101(-7, 1), 0);
    }
}

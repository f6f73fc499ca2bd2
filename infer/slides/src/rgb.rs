//! A rectangle of RGB pixels.

/// `height` rows of `width` pixels of three bytes, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes, H W C.
    pub data: Vec<u8>,
}

impl Rgb {
    /// One colour everywhere.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, data: colour.repeat(width * height) }
    }

    /// One row of `width * 3` bytes.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.data[y * self.width * 3..(y + 1) * self.width * 3]
    }

    /// The pixel at column `x` of row `y`.
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let i = (y * self.width + x) * 3;
        [self.data[i], self.data[i + 1], self.data[i + 2]]
    }

    /// Copies the part of `other` that overlaps, its upper left corner put at column `x` and row `y` of this rectangle.
    pub fn paste(&mut self, other: &Rgb, x: i64, y: i64) {
        let (left, right) = (x.max(0), (x + other.width as i64).min(self.width as i64));
        if left >= right {
            return;
        }
        let bytes = (right - left) as usize * 3;
        for row in y.max(0)..(y + other.height as i64).min(self.height as i64) {
            let from = (left - x) as usize * 3;
            let to = (row as usize * self.width + left as usize) * 3;
            self.data[to..to + bytes].copy_from_slice(&other.row((row - y) as usize)[from..from + bytes]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rgb;

    #[test]
    fn pasting_keeps_to_the_overlap() {
        let mut page = Rgb::filled(3, 2, [0; 3]);
        page.paste(&Rgb::filled(2, 2, [9; 3]), -1, 1);
        page.paste(&Rgb::filled(2, 2, [7; 3]), 2, -1);
        let first: Vec<u8> = page.data.iter().step_by(3).copied().collect();
        assert_eq!(first, [0, 0, 7, 9, 0, 0]);
        page.paste(&Rgb::filled(2, 2, [5; 3]), 40, 0);
        assert_eq!(page.at(0, 1), [9; 3]);
    }
}

//! Rectangle of 8-bit RGB pixels.

/// Image of 8-bit RGB pixels, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Samples `H W C`, `height * width * 3` bytes.
    pub data: Vec<u8>,
}

impl Rgb {
    /// Creates an image of one colour.
    pub fn filled(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, data: colour.repeat(width * height) }
    }

    /// Returns row `y`, `width * 3` bytes.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.data[y * self.width * 3..(y + 1) * self.width * 3]
    }

    /// Returns the pixel at column `x` of row `y`.
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let i = (y * self.width + x) * 3;
        [self.data[i], self.data[i + 1], self.data[i + 2]]
    }

    /// Copies `other` to column `x` and row `y` of this image; the part outside of this image is left out.
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
    fn pasting_copies_the_overlap_only() {
        let mut page = Rgb::filled(3, 2, [0; 3]);
        page.paste(&Rgb::filled(2, 2, [9; 3]), -1, 1);
        page.paste(&Rgb::filled(2, 2, [7; 3]), 2, -1);
        let first: Vec<u8> = page.data.iter().step_by(3).copied().collect();
        assert_eq!(first, [0, 0, 7, 9, 0, 0]);
        page.paste(&Rgb::filled(2, 2, [5; 3]), 40, 0);
        assert_eq!(page.at(0, 1), [9; 3]);
    }
}

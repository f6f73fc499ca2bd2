//! Where a slide is looked at: cells of one grid over the whole slide, so that nothing depends on how a run is cut.
//!
//! | module | what |
//! |---|---|
//! | [`detect`] | cells that are more than bare glass, from the slide made small |
//! | [`given`] | cells that a mask or a GeoJSON file touches |
//! | [`region`] | polygons of a GeoJSON file, in level-0 pixels |

pub mod detect;
pub mod given;
pub mod region;

pub use models::colour::GRID_TILE;

/// The cells that are analysed. In all others the probability is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tissue {
    image: [usize; 2],
    columns: usize,
    cells: Vec<bool>,
}

impl Tissue {
    /// All of an image, or nothing of it.
    pub fn uniform(image: [usize; 2], analysed: bool) -> Self {
        let [columns, rows] = image.map(|side| side.div_ceil(GRID_TILE));
        Self { image, columns, cells: vec![analysed; columns * rows] }
    }

    /// Adds every cell that the half-open rectangle touches.
    pub fn add(&mut self, x: std::ops::Range<usize>, y: std::ops::Range<usize>) {
        let (columns, rows) = self.touched(x, y);
        for row in rows {
            self.cells[row * self.columns + columns.start..row * self.columns + columns.end].fill(true);
        }
    }

    /// Whether any pixel of the half-open rectangle is analysed.
    pub fn any(&self, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> bool {
        let (columns, rows) = self.touched(x, y);
        let mut lines = rows.map(|row| &self.cells[row * self.columns + columns.start..row * self.columns + columns.end]);
        lines.any(|cells| cells.contains(&true))
    }

    /// Sets probabilities to 0 where nothing is analysed; `rows` are whole rows from row `y` of the image on.
    pub fn clear(&self, y: usize, rows: &mut [u8]) {
        for (y, row) in (y..).zip(rows.chunks_exact_mut(self.image[0])) {
            row.chunks_mut(GRID_TILE).zip(self.row(y)).filter(|(_, analysed)| !**analysed).for_each(|(pixels, _)| pixels.fill(0));
        }
    }

    /// Which cells of the row of cells at row `y` of the image are analysed.
    pub fn row(&self, y: usize) -> &[bool] {
        &self.cells[y / GRID_TILE * self.columns..][..self.columns]
    }

    /// Every cell next to an analysed one is analysed too.
    #[must_use]
    pub fn widened(&self) -> Self {
        let mut wide = self.clone();
        for (i, _) in self.cells.iter().enumerate().filter(|(_, analysed)| **analysed) {
            let (x, y) = (i % self.columns * GRID_TILE, i / self.columns * GRID_TILE);
            wide.add(x.saturating_sub(1)..x + GRID_TILE + 1, y.saturating_sub(1)..y + GRID_TILE + 1);
        }
        wide
    }

    /// Pixels that are analysed.
    pub fn area_px(&self) -> u64 {
        let side = |cell: usize, axis: usize| (self.image[axis] - cell * GRID_TILE).min(GRID_TILE) as u64;
        let analysed = self.cells.iter().enumerate().filter(|(_, analysed)| **analysed);
        analysed.map(|(i, _)| side(i % self.columns, 0) * side(i / self.columns, 1)).sum()
    }

    /// One byte for each cell, row by row.
    pub fn bytes(&self) -> Vec<u8> {
        self.cells.iter().map(|&analysed| u8::from(analysed)).collect()
    }

    /// Columns and rows of cells that a rectangle touches; none outside of the image.
    fn touched(&self, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let cells = |range: std::ops::Range<usize>, side: usize| {
            let (start, end) = (range.start.min(side), range.end.min(side));
            if start < end { start / GRID_TILE..end.div_ceil(GRID_TILE) } else { 0..0 }
        };
        (cells(x, self.image[0]), cells(y, self.image[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_at_the_border_are_cut_and_blank_ones_cleared() {
        let mut tissue = Tissue::uniform([300, 200], false);
        tissue.add(290..291, 0..1);
        assert_eq!(tissue.area_px(), 44 * 128);
        assert!(tissue.any(200..257, 127..128) && !tissue.any(0..256, 0..200) && !tissue.any(256..300, 128..200));
        assert_eq!(tissue.widened().area_px(), (44 + 128) * 200);
        let mut rows = vec![9; 300 * 4];
        tissue.clear(126, &mut rows);
        let left = rows.iter().map(|&value| usize::from(value == 9)).sum::<usize>();
        assert_eq!((left, rows[299], rows[255], rows[2 * 300 + 299]), (44 * 2, 9, 0, 0));
        assert_eq!(Tissue::uniform([300, 200], true).area_px(), 60_000);
    }
}

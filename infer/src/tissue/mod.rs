//! Tissue: the analysed part of a slide, as tiles of one grid over the whole slide, so that results do not depend on windows and shards.
//!
//! | module | contents |
//! |---|---|
//! | [`drawn`] | drawn regions to the pixel |
//! | [`detect`] | tissue detection: grid tiles with more than bare glass, from a reduced image |
//! | [`given`] | grid tiles that a mask or a GeoJSON file marks |
//! | [`region`] | polygons in level-0 pixels |

pub mod detect;
pub mod drawn;
pub mod given;
pub mod region;

/// Side of a grid tile in pixels at the model's scale.
pub use models::colour::GRID_TILE;

/// Analysed grid tiles of an image. The probability is 0 in all other tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tissue {
    image: [usize; 2],
    columns: usize,
    tiles: Vec<bool>,
}

impl Tissue {
    /// Returns the tissue of an image of `[columns, rows]` pixels, with all tiles analysed or none.
    pub fn uniform(image: [usize; 2], analysed: bool) -> Self {
        let [columns, rows] = image.map(|side| side.div_ceil(GRID_TILE));
        Self { image, columns, tiles: vec![analysed; columns * rows] }
    }

    /// Adds every tile that the half-open rectangle touches.
    pub fn add(&mut self, x: std::ops::Range<usize>, y: std::ops::Range<usize>) {
        let (columns, rows) = self.touched_tiles(x, y);
        for row in rows {
            self.tiles[row * self.columns + columns.start..row * self.columns + columns.end].fill(true);
        }
    }

    /// Reports whether any pixel of the half-open rectangle is analysed.
    pub fn any(&self, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> bool {
        let (columns, rows) = self.touched_tiles(x, y);
        let mut lines = rows.map(|row| &self.tiles[row * self.columns + columns.start..row * self.columns + columns.end]);
        lines.any(|tiles| tiles.contains(&true))
    }

    /// Sets probabilities outside of analysed tiles to 0; `rows` are image rows of full width from row `y` on.
    pub fn clear(&self, y: usize, rows: &mut [u8]) {
        for (y, row) in (y..).zip(rows.chunks_exact_mut(self.image[0])) {
            row.chunks_mut(GRID_TILE).zip(self.row(y)).filter(|(_, analysed)| !**analysed).for_each(|(pixels, _)| pixels.fill(0));
        }
    }

    /// Reports for every tile of the row of tiles at image row `y` whether it is analysed.
    pub fn row(&self, y: usize) -> &[bool] {
        &self.tiles[y / GRID_TILE * self.columns..][..self.columns]
    }

    /// Returns the tissue dilated by one tile, diagonals included.
    #[must_use]
    pub fn dilated(&self) -> Self {
        let mut dilated = self.clone();
        for (i, _) in self.tiles.iter().enumerate().filter(|(_, analysed)| **analysed) {
            let (x, y) = (i % self.columns * GRID_TILE, i / self.columns * GRID_TILE);
            dilated.add(x.saturating_sub(1)..x + GRID_TILE + 1, y.saturating_sub(1)..y + GRID_TILE + 1);
        }
        dilated
    }

    /// Returns the number of analysed pixels.
    pub fn area_px(&self) -> u64 {
        let side = |tile: usize, axis: usize| (self.image[axis] - tile * GRID_TILE).min(GRID_TILE) as u64;
        let analysed = self.tiles.iter().enumerate().filter(|(_, analysed)| **analysed);
        analysed.map(|(i, _)| side(i % self.columns, 0) * side(i / self.columns, 1)).sum()
    }

    /// Returns one byte per tile, `[row][column]`: 1 if it is analysed, else 0.
    pub fn bytes(&self) -> Vec<u8> {
        self.tiles.iter().map(|&analysed| u8::from(analysed)).collect()
    }

    /// Returns the columns and rows of tiles that a rectangle touches, empty outside of the image.
    fn touched_tiles(&self, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let tiles = |range: std::ops::Range<usize>, side: usize| {
            let (start, end) = (range.start.min(side), range.end.min(side));
            if start < end { start / GRID_TILE..end.div_ceil(GRID_TILE) } else { 0..0 }
        };
        (tiles(x, self.image[0]), tiles(y, self.image[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_at_the_border_are_cropped_and_other_tiles_are_cleared() {
        let mut tissue = Tissue::uniform([300, 200], false);
        tissue.add(290..291, 0..1);
        assert_eq!(tissue.area_px(), 44 * 128);
        assert!(tissue.any(200..257, 127..128) && !tissue.any(0..256, 0..200) && !tissue.any(256..300, 128..200));
        assert_eq!(tissue.dilated().area_px(), (44 + 128) * 200);
        let mut rows = vec![9; 300 * 4];
        tissue.clear(126, &mut rows);
        let remaining = rows.iter().map(|&value| usize::from(value == 9)).sum::<usize>();
        assert_eq!((remaining, rows[299], rows[255], rows[2 * 300 + 299]), (44 * 2, 9, 0, 0));
        assert_eq!(Tissue::uniform([300, 200], true).area_px(), 60_000);
    }
}

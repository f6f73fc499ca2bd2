//! Pixel strips: one row of grid tiles each, with probabilities and the pixels that the network read, for colours of nuclei and quality.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use models::colour::GRID_TILE;
use support::Result;

use super::plan::Plan;
use crate::pipeline::Band;
use crate::quality::{PixelStrip, Quality};
use slides::ScaledSlide;

/// Maximum number of columns of one read.
const MAX_READ_COLUMNS: usize = 2048;

impl Plan<'_> {
    /// Receives bands in order, measures the quality of each strip and passes the strip to `on_strip`, until it returns false.
    pub(super) fn cut_into_strips(
        &self,
        bands: &Receiver<Arc<Band>>,
        quality: &mut Quality,
        mut on_strip: impl FnMut(PixelStrip) -> bool,
    ) -> Result<()> {
        let [width, height] = self.scale.size_px;
        let slide = ScaledSlide::new(self.slide, self.scale);
        let (mut y, mut pending) = (0, Vec::new());
        for band in bands {
            let mut rows = band.rows.as_slice();
            while !rows.is_empty() {
                let strip_len = GRID_TILE.min(height - y) * width;
                let (now, later) = rows.split_at((strip_len - pending.len()).min(rows.len()));
                pending.extend_from_slice(now);
                rows = later;
                if pending.len() == strip_len {
                    let strip = self.timings.pixels.time(|| self.strip(&slide, y, std::mem::take(&mut pending), quality))?;
                    y += strip_len / width;
                    if !on_strip(strip) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the pixels of the strip that begins at row `y` and adds the strip to `quality`.
    fn strip(&self, slide: &ScaledSlide<'_>, y: usize, probabilities: Vec<u8>, quality: &mut Quality) -> Result<PixelStrip> {
        let width = self.scale.size_px[0];
        let (analysed, rows) = (self.tissue.row(y), probabilities.len() / width);
        let mut colours = vec![0; probabilities.len() * 3];
        for columns in analysed_columns(self.computed.row(y), width) {
            let pixels = slide.read(columns.start, y, columns.len(), rows)?;
            for row in 0..rows {
                let at = (row * width + columns.start) * 3;
                colours[at..at + columns.len() * 3].copy_from_slice(pixels.row(row));
            }
        }
        let strip = PixelStrip { y, probabilities, colours };
        quality.add(&strip, analysed);
        Ok(strip)
    }
}

/// Returns the column ranges of consecutive analysed grid tiles, cut to the maximum of one read.
fn analysed_columns(analysed: &[bool], width: usize) -> Vec<Range<usize>> {
    let mut analysed_columns = Vec::new();
    let mut first = 0;
    for tiles in analysed.chunk_by(|a, b| a == b) {
        let (start, end) = (first * GRID_TILE, ((first + tiles.len()) * GRID_TILE).min(width));
        if tiles[0] {
            analysed_columns.extend((start..end).step_by(MAX_READ_COLUMNS).map(|x| x..(x + MAX_READ_COLUMNS).min(end)));
        }
        first += tiles.len();
    }
    analysed_columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_ranges_cover_exactly_the_analysed_tiles() {
        let mut analysed = vec![true; 40];
        analysed[3] = false;
        assert_eq!(analysed_columns(&analysed, 5100), [0..384, 512..2560, 2560..4608, 4608..5100]);
        assert!(analysed_columns(&[false; 3], 300).is_empty());
    }
}

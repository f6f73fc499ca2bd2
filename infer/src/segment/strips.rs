//! Bands cut into rows of cells, each with the pixels that the network saw: colours of nuclei and quality are taken from them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use models::colour::GRID_TILE;
use support::Result;

use super::plan::Plan;
use crate::pipeline::Band;
use crate::quality::{Quality, Strip};
use slides::ScaledSlide;

/// Columns that are read at once.
const COLUMNS: usize = 2048;

impl Plan<'_> {
    /// Takes bands in order and hands on strips, until nobody takes them; `quality` sees every strip.
    pub(super) fn cut(&self, bands: &Receiver<Arc<Band>>, quality: &mut Quality, mut take: impl FnMut(Strip) -> bool) -> Result<()> {
        let [width, height] = self.scale.size_px;
        let slide = ScaledSlide::new(self.slide, self.scale);
        let (mut y, mut waiting) = (0, Vec::new());
        for band in bands {
            let mut rows = band.rows.as_slice();
            while !rows.is_empty() {
                let whole = GRID_TILE.min(height - y) * width;
                let (now, later) = rows.split_at((whole - waiting.len()).min(rows.len()));
                waiting.extend_from_slice(now);
                rows = later;
                if waiting.len() == whole {
                    let strip = self.busy.pixels.time(|| self.strip(&slide, y, std::mem::take(&mut waiting), quality))?;
                    y += whole / width;
                    if !take(strip) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn strip(&self, slide: &ScaledSlide<'_>, y: usize, probabilities: Vec<u8>, quality: &mut Quality) -> Result<Strip> {
        let width = self.scale.size_px[0];
        let (analysed, rows) = (self.tissue.row(y), probabilities.len() / width);
        let mut colours = vec![0; probabilities.len() * 3];
        for columns in stretches(analysed, width) {
            let pixels = slide.read(columns.start, y, columns.len(), rows)?;
            for row in 0..rows {
                let at = (row * width + columns.start) * 3;
                colours[at..at + columns.len() * 3].copy_from_slice(pixels.row(row));
            }
        }
        let strip = Strip { y, probabilities, colours };
        quality.add(&strip, analysed);
        Ok(strip)
    }
}

/// The columns of analysed cells, not too many at once.
fn stretches(analysed: &[bool], width: usize) -> Vec<Range<usize>> {
    let mut stretches = Vec::new();
    let mut first = 0;
    for cells in analysed.chunk_by(|a, b| a == b) {
        let (start, end) = (first * GRID_TILE, ((first + cells.len()) * GRID_TILE).min(width));
        if cells[0] {
            stretches.extend((start..end).step_by(COLUMNS).map(|x| x..(x + COLUMNS).min(end)));
        }
        first += cells.len();
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_cover_what_is_analysed_and_no_more() {
        let mut analysed = vec![true; 40];
        analysed[3] = false;
        assert_eq!(stretches(&analysed, 5100), [0..384, 512..2560, 2560..4608, 4608..5100]);
        assert!(stretches(&[false; 3], 300).is_empty());
    }
}

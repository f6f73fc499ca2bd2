//! How far a slide is what the model was made for: a map of cells, and one light for the slide. It flags; nothing is left out.
//!
//! | module | what |
//! |---|---|
//! | [`cell`] | what is measured in a cell of [`GRID_TILE`] x [`GRID_TILE`] pixels: entropy, focus, colour |
//! | [`light`] | thresholds, and cells to a light |
//!
//! Cells are those of [`crate::tissue`], counted from the corner of the slide: nothing depends on how a run is cut.

pub mod grid_tile;
pub mod status;

use models::colour::{ColourStatistics, GRID_TILE};
use rayon::prelude::*;
use support::Result;
use support::artifact::AtomicFile;

use crate::output::pyramid::PyramidWriter;
use grid_tile::{Figures, figures};
use status::{Counts, Facts};

/// Whole rows of an image from a row that is a multiple of [`GRID_TILE`] on; [`GRID_TILE`] of them, or fewer at the image's end.
pub struct Strip {
    /// First row.
    pub y: usize,
    /// `rows * width` values `round(255 p)`.
    pub probabilities: Vec<u8>,
    /// Their pixels, three bytes each; 0 where nothing is analysed.
    pub colours: Vec<u8>,
}

/// The cells of a slide, judged from top to bottom.
pub struct Quality {
    width: usize,
    trained_on: Option<ColourStatistics>,
    counts: Counts,
    /// Three bytes for each cell so far.
    map: Vec<u8>,
}

impl Quality {
    /// For an image of `width` columns; `trained_on`: what the model card says of the training images' colours; `expected_entropy`: the mean
    /// entropy of the model's golden tiles in bits.
    pub fn new(width: usize, trained_on: Option<ColourStatistics>, expected_entropy: Option<f64>) -> Self {
        Self { width, trained_on, counts: Counts::new(expected_entropy), map: Vec::new() }
    }

    /// Judges a row of cells; `analysed`: which of them are looked at.
    pub fn add(&mut self, strip: &Strip, analysed: &[bool]) {
        let cells = analysed.par_iter().enumerate().map(|(column, &analysed)| {
            let columns = column * GRID_TILE..((column + 1) * GRID_TILE).min(self.width);
            analysed.then(|| figures(strip, self.width, columns, self.trained_on.as_ref()))
        });
        for figures in cells.collect::<Vec<Option<Figures>>>() {
            figures.iter().for_each(|figures| self.counts.add(figures));
            self.map.extend(figures.map_or([0; 3], |figures| figures.bytes()));
        }
    }

    /// Writes the map, one pixel a cell: entropy, focus, distance of colour, as [`Figures::bytes`] tells; `um_per_pixel` is that of the image.
    pub fn finish(self, file: AtomicFile, um_per_pixel: Option<[f64; 2]>) -> Result<(AtomicFile, Facts)> {
        let columns = self.width.div_ceil(GRID_TILE);
        let sides = um_per_pixel.map(|um| um.map(|um| um * GRID_TILE as f64));
        let mut writer = PyramidWriter::new(file, columns, self.map.len() / 3 / columns, 3, sides)?;
        writer.push(&self.map)?;
        Ok((writer.finish()?, self.counts.facts(self.trained_on.is_some())))
    }
}

//! Quality control: comparison of a slide with the images that the model was made for, as a map of grid tiles and one status per slide.
//!
//! Nothing is left out of the results because of its quality.
//!
//! | module | contents |
//! |---|---|
//! | [`grid_tile`] | measures of a grid tile: entropy, focus, stain distance |
//! | [`status`] | limits of the measures, status of grid tiles and of the slide |
//!
//! Grid tiles are those of [`crate::tissue`], aligned to the corner of the slide, so that the measures do not depend on windows and shards.

pub mod grid_tile;
pub mod status;

use models::colour::{ColourStatistics, GRID_TILE};
use rayon::prelude::*;
use support::Result;
use support::durable::AtomicFile;

use crate::pyramid::PyramidWriter;
use grid_tile::{Measures, measure};
use status::{QualityFacts, Tally};

/// One row of grid tiles with its pixels: [`GRID_TILE`] image rows of full width, or fewer at the lower border.
pub struct PixelStrip {
    /// First row in the image, a multiple of [`GRID_TILE`].
    pub y: usize,
    /// Quantised probabilities `round(255 p)`, `[row][column]`.
    pub probabilities: Vec<u8>,
    /// RGB pixels `[row][column][3]`; 0 outside of analysed tiles.
    pub colours: Vec<u8>,
}

/// Quality of a slide, measured strip by strip from top to bottom.
pub struct Quality {
    width: usize,
    trained_on: Option<ColourStatistics>,
    tally: Tally,
    /// Pixels of the quality map, [`Measures::bytes`] of each tile.
    map: Vec<u8>,
}

impl Quality {
    /// Returns an empty tally for an image of `width` columns.
    ///
    /// `trained_on` is the colour statistics of the training images on the model card, `expected_entropy` the mean entropy of the model's
    /// golden tiles in bits.
    pub fn new(width: usize, trained_on: Option<ColourStatistics>, expected_entropy: Option<f64>) -> Self {
        Self { width, trained_on, tally: Tally::new(expected_entropy), map: Vec::new() }
    }

    /// Measures the tiles of a strip for which `analysed` is true.
    pub fn add(&mut self, strip: &PixelStrip, analysed: &[bool]) {
        let tiles = analysed.par_iter().enumerate().map(|(column, &analysed)| {
            let columns = column * GRID_TILE..((column + 1) * GRID_TILE).min(self.width);
            analysed.then(|| measure(strip, self.width, columns, self.trained_on.as_ref()))
        });
        for measures in tiles.collect::<Vec<Option<Measures>>>() {
            measures.iter().for_each(|measures| self.tally.add(measures));
            self.map.extend(measures.map_or([0; 3], |measures| measures.bytes()));
        }
    }

    /// Writes the quality map, one pixel per grid tile, with the channels of [`Measures::bytes`]; `um_per_pixel` is the scale of the image.
    pub fn finish(self, file: AtomicFile, um_per_pixel: Option<[f64; 2]>) -> Result<(AtomicFile, QualityFacts)> {
        let columns = self.width.div_ceil(GRID_TILE);
        let tile_um = um_per_pixel.map(|um| um.map(|um| um * GRID_TILE as f64));
        let mut writer = PyramidWriter::new(file, columns, self.map.len() / 3 / columns, 3, tile_um)?;
        writer.push(&self.map)?;
        Ok((writer.finish()?, self.tally.facts(self.trained_on.is_some())))
    }
}

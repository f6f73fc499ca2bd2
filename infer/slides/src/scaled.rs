//! Slide at the model's scale: one image on one grid, whose pixels do not depend on the windows in which it is read.

use models::plane::reflect_101;
use serde::{Deserialize, Serialize};
use support::{Result, bail};

use super::{Mpp, Rgb, Slide};
use crate::resample::{Piece, resample, source_span};

/// Maximum relative difference of scales at which a level is read without resampling.
const SAME_SCALE_WITHIN: f64 = 0.01;

/// Level and resampling factors by which a slide is read at the model's scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// Index of the level that is read.
    pub level: usize,
    /// Number of pixels of that level per pixel of the model, along x and y; with 1 the level is not resampled.
    pub level_from_model: [f64; 2],
    /// Number of level-0 pixels per pixel of the model, along x and y.
    pub slide_from_model: [f64; 2],
    /// Columns and rows at the model's scale.
    pub size_px: [usize; 2],
    /// Scale at which the network reads the slide, in µm per pixel along x and y; `None` if the slide's scale is unknown.
    pub effective_mpp: Option<[f64; 2]>,
}

impl Scale {
    /// Returns the scale for reading `slide`, of scale `mpp`, by a model trained at `model_mpp` µm per pixel.
    ///
    /// The coarsest level that is not coarser than the target scale is resampled. A model without a scale reads level 0 without resampling.
    ///
    /// # Errors
    /// A slide of unknown scale for a model with a scale, or more than 2^24 px along one side.
    pub fn choose(slide: &dyn Slide, mpp: Option<Mpp>, model_mpp: Option<f64>) -> Result<Self> {
        let Some(model_mpp) = model_mpp else {
            return Self::at(slide, 0, [1.0; 2], mpp);
        };
        let Some(mpp) = mpp else {
            let implausible = &slide.facts().implausible_mpp;
            let found = if implausible.is_empty() { "none was found".to_owned() } else { implausible.join(", ") };
            bail!("the scale of {} is not known ({found}), and the model was trained at {model_mpp} µm per pixel", slide.facts().path.display(); hint: "give the scale of the slide in microns per pixel with --mpp, for example --mpp 0.25 for a 40x scan");
        };
        let target = [model_mpp / mpp.x, model_mpp / mpp.y];
        let mean = f64::midpoint(target[0], target[1]);
        let levels = slide.levels();
        let level = (0..levels.len()).rev().find(|&i| levels[i].downsample <= mean * (1.0 + SAME_SCALE_WITHIN)).unwrap_or(0);
        let level_size = [levels[level].width as f64, levels[level].height as f64];
        let per_axis = [levels[0].width as f64 / level_size[0], levels[0].height as f64 / level_size[1]];
        let factor = if (mean / levels[level].downsample - 1.0).abs() <= SAME_SCALE_WITHIN {
            [1.0; 2]
        } else {
            [target[0] / per_axis[0], target[1] / per_axis[1]]
        };
        Self::at(slide, level, factor, Some(mpp))
    }

    /// Returns the scale for reading the same image reduced to `size` columns and rows.
    #[must_use]
    pub fn shrunk(&self, slide: &dyn Slide, size: [usize; 2]) -> Self {
        let levels = slide.levels();
        let slide_from_small = [0, 1].map(|i| self.slide_from_model[i] * self.size_px[i] as f64 / size[i] as f64);
        let mean = f64::midpoint(slide_from_small[0], slide_from_small[1]);
        let level = (0..levels.len()).rev().find(|&i| levels[i].downsample <= mean * (1.0 + SAME_SCALE_WITHIN)).unwrap_or(0);
        let sides = [levels[level].width, levels[level].height];
        Self {
            level,
            level_from_model: [0, 1].map(|i| sides[i] as f64 / size[i] as f64),
            slide_from_model: slide_from_small,
            size_px: size,
            effective_mpp: None,
        }
    }

    fn at(slide: &dyn Slide, level: usize, level_from_model: [f64; 2], mpp: Option<Mpp>) -> Result<Self> {
        let (base, read) = (slide.levels()[0], slide.levels()[level]);
        let sides = [(base.width, read.width), (base.height, read.height)];
        let slide_from_model = [0, 1].map(|i| level_from_model[i] * sides[i].0 as f64 / sides[i].1 as f64);
        let size_px = [0, 1].map(|i| (sides[i].1 as f64 / level_from_model[i]).round().max(1.0) as usize);
        if size_px.iter().any(|&side| side > 1 << 24) {
            bail!("the slide would have {} x {} px at the model's scale, more than can be read", size_px[0], size_px[1]; hint: "is the scale right? give it with --mpp");
        }
        let effective_mpp = mpp.map(|mpp| [mpp.x * slide_from_model[0], mpp.y * slide_from_model[1]]);
        Ok(Self { level, level_from_model, slide_from_model, size_px, effective_mpp })
    }
}

/// Slide that is read at a [`Scale`].
pub struct ScaledSlide<'a> {
    slide: &'a dyn Slide,
    /// Level and resampling factors.
    pub scale: Scale,
}

impl<'a> ScaledSlide<'a> {
    /// Returns `slide` at `scale`.
    pub fn new(slide: &'a dyn Slide, scale: Scale) -> Self {
        Self { slide, scale }
    }

    /// Reads `width * height` pixels from column `x` and row `y` at the model's scale; pixels beyond the right and lower border are padded by
    /// reflect-101 (`dcb|abcd|cba`).
    pub fn read(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Rgb> {
        let size = self.scale.size_px;
        if x + width <= size[0] && y + height <= size[1] {
            return self.read_inside(x, y, width, height);
        }
        let columns = source_indices(x, width, size[0]);
        let rows = source_indices(y, height, size[1]);
        let (left, right) = (min(&columns), end(&columns));
        let (top, bottom) = (min(&rows), end(&rows));
        let inner = self.read_inside(left, top, right - left, bottom - top)?;
        let mut data = Vec::with_capacity(width * height * 3);
        for row in rows {
            data.extend(columns.iter().flat_map(|column| inner.at(column - left, row - top)));
        }
        Ok(Rgb { width, height, data })
    }

    /// Reads a rectangle that lies inside the image.
    fn read_inside(&self, x: usize, y: usize, width: usize, height: usize) -> Result<Rgb> {
        let Scale { level, level_from_model: factor, .. } = self.scale;
        if factor == [1.0; 2] {
            return self.slide.read_region(level, x as i64, y as i64, width, height);
        }
        let size = self.slide.levels()[level];
        let (left, right) = source_span(x as u64, width, factor[0], size.width);
        let (top, bottom) = source_span(y as u64, height, factor[1], size.height);
        let pixels = self.slide.read_region(level, left, top, (right - left) as usize, (bottom - top) as usize)?;
        let piece = Piece { pixels: &pixels, origin: [left, top], source: [size.width, size.height] };
        Ok(resample(&piece, factor, [x as u64, y as u64], width, height))
    }
}

/// Returns the indices inside an axis of `size` pixels from which the padded indices `from..from + length` are read.
fn source_indices(from: usize, length: usize, size: usize) -> Vec<usize> {
    (from..from + length).map(|i| reflect_101(i as isize, size)).collect()
}

fn min(indices: &[usize]) -> usize {
    indices.iter().copied().min().unwrap_or(0)
}

fn end(indices: &[usize]) -> usize {
    indices.iter().copied().max().map_or(0, |last| last + 1)
}

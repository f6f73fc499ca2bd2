//! The slide at the model's scale: one image on one grid, whatever windows it is read in.

use models::plane::reflect_101;
use serde::{Deserialize, Serialize};
use support::{Result, bail};

use super::{Mpp, Rgb, Slide};
use crate::resample::{Piece, resample, source_span};

/// A level whose scale is this close to the wanted one is used as it is.
const SAME_SCALE_WITHIN: f64 = 0.01;

/// At what scale a slide is read, and from which level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// The level that is read.
    pub level: usize,
    /// Pixels of that level to one pixel of the model, along x and y; 1: read as it is.
    pub level_from_model: [f64; 2],
    /// Level-0 pixels to one pixel of the model, along x and y.
    pub slide_from_model: [f64; 2],
    /// Columns and rows at the model's scale.
    pub size_px: [usize; 2],
    /// µm per pixel at which the network sees the slide, along x and y; `None`: the slide's own unknown scale.
    pub effective_mpp: Option<[f64; 2]>,
}

impl Scale {
    /// How to read `slide`, of scale `mpp`, for a model trained at `model_mpp`.
    ///
    /// The coarsest level that is no coarser than wanted is resampled. A model without a scale reads level 0 as it is.
    pub fn choose(slide: &dyn Slide, mpp: Option<Mpp>, model_mpp: Option<f64>) -> Result<Self> {
        let Some(model_mpp) = model_mpp else {
            return Self::at(slide, 0, [1.0; 2], mpp);
        };
        let Some(mpp) = mpp else {
            let disbelieved = &slide.facts().disbelieved_mpp;
            let found = if disbelieved.is_empty() { "none was found".to_owned() } else { disbelieved.join(", ") };
            bail!("the scale of {} is not known ({found}), and the model was trained at {model_mpp} µm per pixel", slide.facts().path.display(); hint: "give the scale of the slide in microns per pixel with --mpp, for example --mpp 0.25 for a 40x scan");
        };
        let wanted = [model_mpp / mpp.x, model_mpp / mpp.y];
        let mean = f64::midpoint(wanted[0], wanted[1]);
        let levels = slide.levels();
        let level = (0..levels.len()).rev().find(|&i| levels[i].downsample <= mean * (1.0 + SAME_SCALE_WITHIN)).unwrap_or(0);
        let level_size = [levels[level].width as f64, levels[level].height as f64];
        let per_axis = [levels[0].width as f64 / level_size[0], levels[0].height as f64 / level_size[1]];
        let factor = if (mean / levels[level].downsample - 1.0).abs() <= SAME_SCALE_WITHIN {
            [1.0; 2]
        } else {
            [wanted[0] / per_axis[0], wanted[1] / per_axis[1]]
        };
        Self::at(slide, level, factor, Some(mpp))
    }

    /// How to read the same image made smaller, in `size` columns and rows.
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

/// A slide read at a [`Scale`].
pub struct ScaledSlide<'a> {
    slide: &'a dyn Slide,
    /// The scale.
    pub scale: Scale,
}

impl<'a> ScaledSlide<'a> {
    /// `slide`, to be read at `scale`.
    pub fn new(slide: &'a dyn Slide, scale: Scale) -> Self {
        Self { slide, scale }
    }

    /// `width * height` pixels from column `x` and row `y` at the model's scale; beyond the right and lower border by reflect-101.
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

fn source_indices(from: usize, length: usize, size: usize) -> Vec<usize> {
    (from..from + length).map(|i| reflect_101(i as isize, size)).collect()
}

fn min(indices: &[usize]) -> usize {
    indices.iter().copied().min().unwrap_or(0)
}

fn end(indices: &[usize]) -> usize {
    indices.iter().copied().max().map_or(0, |last| last + 1)
}

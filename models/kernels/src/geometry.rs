//! Geometry of a convolution and its gather tables, which list the source pixel that each tap reads for every output pixel.
//!
//! Tables depend on sizes and not on channels, so that all layers of one size share them through a [`Cache`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::gather::{GatherTable, PADDING};
use crate::halo_rows::HaloRows;
use crate::winograd::Grid;

/// Sizes of a square convolution with zero padding `kernel / 2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Images, `B`.
    pub batch: usize,
    /// Rows of the input without its halo, `H`.
    pub height: usize,
    /// Columns of the input, `W`.
    pub width: usize,
    /// Side of the kernel, `K`.
    pub kernel: usize,
    /// Stride, 1 or 2.
    pub stride: usize,
    /// Halo rows of the input. Gradients need whole feature maps, that is [`HaloRows::NONE`].
    pub halo: HaloRows,
}

/// Number of input pixels that the tables of one geometry cover.
const PIXELS: usize = 1 << 16;

/// Gather tables of one [`Geometry`], for the forward pass and for the gradient at the input.
pub struct Tables {
    /// Table of all output pixels, whose sources are input pixels.
    pub forward: [GatherTable; 1],
    /// One table for each phase, the position of an input pixel modulo the stride; sources are output pixels. Phases that no tap reads
    /// have no table.
    pub backward: Vec<GatherTable>,
}

impl Geometry {
    /// Returns the number of rows and columns of the output.
    pub fn output(&self) -> (usize, usize) {
        (self.height.div_ceil(self.stride), self.width.div_ceil(self.stride))
    }

    /// Returns the geometry with the number of images that one set of tables covers.
    ///
    /// Further images reuse the tables, because tables for a whole batch would take more memory than feature maps of few channels.
    #[must_use]
    pub fn for_tables(self) -> Self {
        Self { batch: (PIXELS / (self.height * self.width)).clamp(1, self.batch.max(1)), ..self }
    }

    /// Returns the number of taps of the kernel, `K K`.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Returns the tile grid of the feature maps of a convolution with stride 1.
    pub fn grid(&self) -> Grid {
        Grid { batch: self.batch, height: self.height, width: self.width }
    }

    fn tables(self) -> Tables {
        assert_eq!(self.halo, HaloRows::NONE, "gradients need whole feature maps");
        let tables = (0..self.stride * self.stride).map(|phase| self.backward_table(phase / self.stride, phase % self.stride));
        // Pixels that no tap reaches (a 1x1 kernel with stride 2 skips three in four) have gradient 0.
        Tables { forward: [self.forward_table()], backward: tables.filter(|table| !table.taps.is_empty()).collect() }
    }

    /// Builds the table of the forward pass: all output pixels, whose sources are input pixels.
    pub fn forward_table(&self) -> GatherTable {
        self.halo.check(self.batch);
        let (rows, columns) = self.output();
        let (above, source_rows) = (self.halo.above as isize, self.halo.rows(self.height));
        let padding = (self.kernel / 2) as isize;
        let mut sources = Vec::with_capacity(self.batch * rows * columns * self.taps());
        for image in 0..self.batch {
            for y in 0..rows {
                for x in 0..columns {
                    for tap in 0..self.taps() {
                        let sy = (y * self.stride + tap / self.kernel) as isize - padding + above;
                        let sx = (x * self.stride + tap % self.kernel) as isize - padding;
                        sources.push(index(image, sy, sx, source_rows, self.width));
                    }
                }
            }
        }
        GatherTable { taps: (0..self.taps() as u32).collect(), pixels: (0..(self.batch * rows * columns) as u32).collect(), sources }
    }

    /// Builds the backward table of phase `(cy, cx)`, the input pixels `(stride i + cy, stride j + cx)`. Tap `(ty, tx)` connects input
    /// pixel `(y, x)` to output pixel `((y + padding - ty) / stride, (x + padding - tx) / stride)` if both are whole numbers.
    fn backward_table(&self, cy: usize, cx: usize) -> GatherTable {
        let (rows, columns) = self.output();
        let padding = self.kernel / 2;
        let reaches = |c: usize, t: usize| (c + padding + self.stride * self.kernel - t).is_multiple_of(self.stride);
        let taps: Vec<u32> =
            (0..self.taps()).filter(|t| reaches(cy, t / self.kernel) && reaches(cx, t % self.kernel)).map(|t| t as u32).collect();
        let mut table = GatherTable { taps, pixels: Vec::new(), sources: Vec::new() };
        for image in 0..self.batch {
            for y in (cy..self.height).step_by(self.stride) {
                for x in (cx..self.width).step_by(self.stride) {
                    table.pixels.push(((image * self.height + y) * self.width + x) as u32);
                    for &tap in &table.taps {
                        let oy = (y + padding) as isize - (tap as usize / self.kernel) as isize;
                        let ox = (x + padding) as isize - (tap as usize % self.kernel) as isize;
                        let stride = self.stride as isize;
                        table.sources.push(index(image, oy.div_euclid(stride), ox.div_euclid(stride), rows, columns));
                    }
                }
            }
        }
        table
    }
}

/// Returns the index of a pixel, or [`PADDING`] outside the feature map.
fn index(image: usize, y: isize, x: isize, height: usize, width: usize) -> u32 {
    if y < 0 || x < 0 || y >= height as isize || x >= width as isize {
        return PADDING;
    }
    ((image * height + y as usize) * width + x as usize) as u32
}

/// Cache of [`Tables`] by geometry. Training uses a handful of geometries, but evaluation may use a new one for each image size, so the
/// cache is cleared when its capacity is exceeded.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<Geometry, Arc<Tables>>>);

impl Cache {
    /// Number of geometries.
    const CAPACITY: usize = 64;

    /// Returns the tables of a geometry, which are built on first use.
    pub fn get(&self, geometry: Geometry) -> Arc<Tables> {
        let mut tables = self.0.lock().expect("building tables does not panic");
        if tables.len() >= Self::CAPACITY && !tables.contains_key(&geometry) {
            tables.clear();
        }
        tables.entry(geometry).or_insert_with(|| Arc::new(geometry.tables())).clone()
    }
}

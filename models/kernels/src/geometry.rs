//! Which source pixel each tap of a convolution reads, for every output pixel. Depends on sizes, not on channels, so it is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::gather::{Class, PADDING};
use super::halo_rows::HaloRows;
use super::winograd::Grid;

/// Sizes that decide the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Images.
    pub batch: usize,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Kernel side; padding is `kernel / 2`.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Rows around those of the input. Only forward forms take any.
    pub margin: HaloRows,
}

/// Pixels of the input for which there are tables.
const PIXELS: usize = 1 << 16;

/// Tables of one [`Geometry`].
pub struct Tables {
    /// All output pixels, reading input pixels.
    pub forward: [Class; 1],
    /// Input pixels by their position modulo the stride, reading output pixels; pixels that nothing reads are left out.
    pub backward: Vec<Class>,
}

impl Geometry {
    /// Rows and columns of the output.
    pub fn output(&self) -> (usize, usize) {
        (self.height.div_ceil(self.stride), self.width.div_ceil(self.stride))
    }

    /// Some images of these. Tables are made for so many: those of further images are the same, and would take more memory than the
    /// maps themselves where channels are few.
    #[must_use]
    pub fn together(self) -> Self {
        Self { batch: (PIXELS / (self.height * self.width)).clamp(1, self.batch.max(1)), ..self }
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// The maps of a convolution with stride 1.
    pub fn grid(&self) -> Grid {
        Grid { batch: self.batch, height: self.height, width: self.width }
    }

    fn tables(self) -> Tables {
        assert_eq!(self.margin, HaloRows::NONE, "gradients are those of whole maps");
        let classes = (0..self.stride * self.stride).map(|class| self.backward_class(class / self.stride, class % self.stride));
        // Pixels that no tap reaches (a 1x1 kernel with stride 2 skips three in four) have gradient 0.
        Tables { forward: [self.forward_class()], backward: classes.filter(|class| !class.taps.is_empty()).collect() }
    }

    /// All output pixels, reading input pixels: what a forward pass needs of the tables.
    pub fn forward_class(&self) -> Class {
        self.margin.check(self.batch);
        let (rows, columns) = self.output();
        let (above, source_rows) = (self.margin.above as isize, self.margin.rows(self.height));
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
        Class { taps: (0..self.taps() as u32).collect(), pixels: (0..(self.batch * rows * columns) as u32).collect(), sources }
    }

    /// Input pixels `(stride i + cy, stride j + cx)`: output pixel `(y + padding - ty) / stride` reads them with tap `ty`.
    fn backward_class(&self, cy: usize, cx: usize) -> Class {
        let (rows, columns) = self.output();
        let padding = self.kernel / 2;
        let reaches = |c: usize, t: usize| (c + padding + self.stride * self.kernel - t).is_multiple_of(self.stride);
        let taps: Vec<u32> =
            (0..self.taps()).filter(|t| reaches(cy, t / self.kernel) && reaches(cx, t % self.kernel)).map(|t| t as u32).collect();
        let mut class = Class { taps, pixels: Vec::new(), sources: Vec::new() };
        for image in 0..self.batch {
            for y in (cy..self.height).step_by(self.stride) {
                for x in (cx..self.width).step_by(self.stride) {
                    class.pixels.push(((image * self.height + y) * self.width + x) as u32);
                    for &tap in &class.taps {
                        let oy = (y + padding) as isize - (tap as usize / self.kernel) as isize;
                        let ox = (x + padding) as isize - (tap as usize % self.kernel) as isize;
                        let stride = self.stride as isize;
                        class.sources.push(index(image, oy.div_euclid(stride), ox.div_euclid(stride), rows, columns));
                    }
                }
            }
        }
        class
    }
}

fn index(image: usize, y: isize, x: isize, height: usize, width: usize) -> u32 {
    if y < 0 || x < 0 || y >= height as isize || x >= width as isize {
        return PADDING;
    }
    ((image * height + y as usize) * width + x as usize) as u32
}

/// Tables by geometry. Training meets a handful; whole images of many sizes may come in evaluation, so old ones are dropped.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<Geometry, Arc<Tables>>>);

impl Cache {
    const KEPT: usize = 64;

    /// The tables of this geometry, made when first asked for.
    pub fn get(&self, geometry: Geometry) -> Arc<Tables> {
        let mut kept = self.0.lock().expect("no panic while tables are made");
        if kept.len() >= Self::KEPT && !kept.contains_key(&geometry) {
            kept.clear();
        }
        kept.entry(geometry).or_insert_with(|| Arc::new(geometry.tables())).clone()
    }
}

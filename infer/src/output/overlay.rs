//! `overlay.png`: the slide made small, with the outlines of its nuclei.

use image::ExtendedColorType;
use models::Result;
use models::artifact::AtomicFile;

use super::labels::write_png;
use crate::instances::Instance;
use crate::instances::boundary::QUARTERS;
use crate::slide::Rgb;

/// The longer side of the picture at most.
pub const MAX_SIDE: usize = 2048;

/// Means of the slide's pixels and the outlines drawn so far, both in the picture's pixels.
pub struct Overlay {
    image: [usize; 2],
    size: [usize; 2],
    sums: Vec<[u64; 3]>,
    counts: Vec<u64>,
    outlined: Vec<bool>,
}

impl Overlay {
    /// For an image of `image` columns and rows at the model's scale.
    pub fn new(image: [usize; 2]) -> Self {
        let shrink = (image[0].max(image[1]) as f64 / MAX_SIDE as f64).max(1.0);
        let size = image.map(|side| ((side as f64 / shrink).round() as usize).clamp(1, side));
        let pixels = size[0] * size[1];
        Self { image, size, sums: vec![[0; 3]; pixels], counts: vec![0; pixels], outlined: vec![false; pixels] }
    }

    /// Adds `width * height` pixels of the image from its column `x` and row `y`; they begin at `[left, top]` of `window`. Sums of
    /// integers do not depend on the order in which windows come.
    pub fn add_pixels(&mut self, window: &Rgb, [left, top]: [usize; 2], [x, y]: [usize; 2], [width, height]: [usize; 2]) {
        let columns: Vec<usize> = (x..x + width).map(|x| x * self.size[0] / self.image[0]).collect();
        for row in 0..height {
            let line = (y + row) * self.size[1] / self.image[1] * self.size[0];
            let pixels = window.row(top + row)[left * 3..(left + width) * 3].chunks_exact(3);
            for (pixel, column) in pixels.zip(&columns) {
                let sum = &mut self.sums[line + column];
                (0..3).for_each(|c| sum[c] += u64::from(pixel[c]));
                self.counts[line + column] += 1;
            }
        }
    }

    /// Draws the outline of a nucleus.
    pub fn add_outline(&mut self, instance: &Instance) {
        let scale = [0, 1].map(|i| self.size[i] as f64 / (self.image[i] as f64 * QUARTERS as f64));
        for ring in &instance.rings {
            for (i, from) in ring.iter().enumerate() {
                let to = ring[(i + 1) % ring.len()];
                let place = |point: &[i64; 2]| [0, 1].map(|i| ((point[i] as f64 * scale[i]) as usize).min(self.size[i] - 1));
                let (from, to) = (place(from), place(&to));
                self.draw(from, to);
            }
        }
    }

    /// A line of pixels (sides of rings are short, straight or nearly so).
    fn draw(&mut self, from: [usize; 2], to: [usize; 2]) {
        let steps = from[0].abs_diff(to[0]).max(from[1].abs_diff(to[1])).max(1);
        for step in 0..=steps {
            let at = |i: usize| (from[i] * (steps - step) + to[i] * step) / steps;
            let (x, y) = (at(0), at(1));
            self.outlined[y * self.size[0] + x] = true;
        }
    }

    /// Writes the picture, outlines in `colour`.
    pub fn finish(self, file: AtomicFile, colour: [u8; 3]) -> Result<AtomicFile> {
        let pixels = self.sums.iter().zip(&self.counts).zip(&self.outlined);
        let bytes: Vec<u8> = pixels
            .flat_map(|((sum, &count), &outlined)| if outlined { colour } else { sum.map(|sum| ((sum + count / 2) / count.max(1)) as u8) })
            .collect();
        write_png(file, &bytes, self.size, ExtendedColorType::Rgb8)
    }
}

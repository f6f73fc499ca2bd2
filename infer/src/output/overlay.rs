//! `overlay.png`: overview of the slide with the outlines of its nuclei.

use image::ExtendedColorType;
use support::Result;
use support::durable::AtomicFile;

use super::labels::write_png;
use crate::instances::Instance;
use crate::instances::boundary::QUARTERS;
use slides::Rgb;

/// Maximum of the longer side of the overview, in pixels.
pub const MAX_SIDE: usize = 2048;

/// Overview with the outlines drawn so far.
pub struct Overlay {
    image: [usize; 2],
    overview: Rgb,
    outlined: Vec<bool>,
}

impl Overlay {
    /// Returns an overlay without outlines; `image` is columns and rows at the model's scale, `overview` the reduced slide.
    pub fn new(image: [usize; 2], overview: Rgb) -> Self {
        let outlined = vec![false; overview.width * overview.height];
        Self { image, overview, outlined }
    }

    /// Returns the reduction of the overview of an image of `image` columns and rows.
    pub fn shrink(image: [usize; 2]) -> f64 {
        (image[0].max(image[1]) as f64 / MAX_SIDE as f64).max(1.0)
    }

    /// Draws the outline of a nucleus.
    pub fn add_outline(&mut self, instance: &Instance) {
        let size = [self.overview.width, self.overview.height];
        let scale = [0, 1].map(|i| size[i] as f64 / (self.image[i] as f64 * QUARTERS as f64));
        for ring in &instance.rings {
            for (i, from) in ring.iter().enumerate() {
                let to = ring[(i + 1) % ring.len()];
                let to_pixel = |point: &[i64; 2]| [0, 1].map(|i| ((point[i] as f64 * scale[i]) as usize).min(size[i] - 1));
                let (from, to) = (to_pixel(from), to_pixel(&to));
                self.draw_line(from, to);
            }
        }
    }

    /// Draws a line; sides of rings are short, so that no better line algorithm is needed.
    fn draw_line(&mut self, from: [usize; 2], to: [usize; 2]) {
        let steps = from[0].abs_diff(to[0]).max(from[1].abs_diff(to[1])).max(1);
        for step in 0..=steps {
            let at = |i: usize| (from[i] * (steps - step) + to[i] * step) / steps;
            let (x, y) = (at(0), at(1));
            self.outlined[y * self.overview.width + x] = true;
        }
    }

    /// Writes the overview, with outlines in the RGB colour `colour`.
    pub fn finish(self, file: AtomicFile, colour: [u8; 3]) -> Result<AtomicFile> {
        let mut bytes = self.overview.data;
        for (pixel, _) in bytes.chunks_exact_mut(3).zip(&self.outlined).filter(|(_, outlined)| **outlined) {
            pixel.copy_from_slice(&colour);
        }
        write_png(file, &bytes, [self.overview.width, self.overview.height], ExtendedColorType::Rgb8)
    }
}

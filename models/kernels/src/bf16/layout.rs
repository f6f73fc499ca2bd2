//! Where the pixels of a map lie in its padded copy, so that every tap of a convolution reads rows at a constant distance.
//!
//! Output pixels have *positions*, image by image, row by row. One gap of zeros serves as the padding behind a row and before the
//! next, and rows of zeros do the same between images. A position stands for `stride` pixels of the input side by side, and rows
//! are sorted by their number modulo the stride. So position `p` under any tap reads at `p * stride * channels + constant`, and the
//! taps of a row of the kernel read one run of values.

use std::ops::Range;

use rayon::prelude::*;

use super::{Halves, SharedHalves, round};
use crate::geometry::Geometry;
use crate::scratch::Pool;
use crate::simd::vectorised;
use crate::winograd::Part;

/// The positions of a map.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    batch: usize,
    /// Rows and columns of the map that is copied.
    height: usize,
    width: usize,
    /// Rows and columns of output pixels.
    rows: usize,
    columns: usize,
    /// Positions of a row, and rows of an image, gaps included.
    pitch: usize,
    image_rows: usize,
    padding: usize,
    /// Pixels that a position stands for in each direction.
    pub stride: usize,
}

impl Layout {
    /// The input of a convolution.
    pub fn of(geometry: Geometry) -> Self {
        let Geometry { batch, height, width, kernel, stride, margin } = geometry;
        assert_eq!(margin, crate::HaloRows::NONE, "bf16 takes whole maps");
        let ((rows, columns), padding) = (geometry.output(), kernel / 2);
        let (pitch, image_rows) = ((width + padding).div_ceil(stride), rows + padding.div_ceil(stride));
        Self { batch, height, width, rows, columns, pitch, image_rows, padding, stride }
    }

    /// The output of the same convolution, at the same positions.
    pub fn of_output(self) -> Self {
        Self { height: self.rows, width: self.columns, stride: 1, ..self }
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.batch * self.image_rows * self.pitch
    }

    /// Positions of zeros in front: what the first pixel's window reads.
    pub fn front(&self) -> usize {
        self.padding * self.pitch + self.padding
    }

    /// Positions with those in front and behind. Behind are the windows of the last block, which may end 31 positions behind the
    /// last one, and what a run reads beyond its end: less than 32 values, two pixels of 16 channels.
    pub fn all(&self) -> usize {
        self.front() + self.positions() + 32 + self.padding * self.pitch + self.padding + 3
    }

    /// Positions that one row of the map is away from the next of the same kind, and which kind a row `shift` further is.
    fn row_shift(&self, shift: isize) -> (usize, isize) {
        let stride = self.stride as isize;
        (shift.rem_euclid(stride) as usize, shift.div_euclid(stride) * self.pitch as isize)
    }

    /// Where position 0 reads in the padded copy under a tap `(dy, dx)` pixels away.
    pub fn offset(&self, channels: usize, dy: isize, dx: isize) -> isize {
        let (kind, positions) = self.row_shift(dy);
        let positions = (kind * self.all() + self.front()) as isize + positions;
        (positions * self.stride as isize + dx) * channels as isize
    }

    /// Where position 0 reads in one channel of the transposed copy: kind of pixel, and its offset.
    pub fn transposed_offset(&self, dy: isize, dx: isize) -> (usize, isize) {
        let stride = self.stride as isize;
        let (kind, positions) = self.row_shift(dy);
        (kind * self.stride + dx.rem_euclid(stride) as usize, self.front() as isize + positions + dx.div_euclid(stride))
    }

    /// The output pixels `[image, y, x]` at a position and those behind it; none at gaps.
    #[inline]
    pub fn pixels(&self, position: usize) -> impl Iterator<Item = Option<[usize; 3]>> {
        let &Self { batch, rows, columns, pitch, image_rows, .. } = self;
        let (row, mut x) = (position / pitch, position % pitch);
        let (mut image, mut y) = (row / image_rows, row % image_rows);
        std::iter::from_fn(move || {
            let place = (image < batch && y < rows && x < columns).then_some([image, y, x]);
            x += 1;
            if x == pitch {
                (x, y) = (0, y + 1);
            }
            if y == image_rows {
                (y, image) = (0, image + 1);
            }
            Some(place)
        })
    }

    /// The padded positions that blocks of some positions read.
    pub fn window(&self, positions: Range<usize>) -> Range<usize> {
        positions.start..positions.end + self.all() - self.positions()
    }

    /// Part of the padded copy of a map whose channels are those of `parts`: `[row modulo stride][position][pixel][channel]` for
    /// the padded positions of a window.
    pub(super) fn copy(&self, pool: &Pool, parts: &[Part], window: Range<usize>) -> Halves {
        let channels: usize = parts.iter().map(|part| part.channels).sum();
        for part in parts {
            let half = usize::from(part.halved);
            assert_eq!(part.values.len(), self.batch * (self.height >> half) * (self.width >> half) * part.channels);
        }
        let position = self.stride * channels;
        let mut copy = Halves::take(pool, self.stride * window.len() * position);
        let target = SharedHalves::new(&mut copy);
        let (front, pitch) = (self.front() as isize, self.pitch as isize);
        let first = (window.start as isize - front).div_euclid(pitch);
        let lines = (window.end as isize - front).div_euclid(pitch) - first + 1;
        (0..self.stride * lines as usize).into_par_iter().for_each(|task| {
            let (kind, line) = (task / lines as usize, first + task as isize % lines);
            let place = |padded: usize| (padded as isize - front - line * pitch).clamp(0, pitch) as usize;
            let columns = place(window.start)..place(window.end);
            let from = front + line * pitch + columns.start as isize - window.start as isize;
            let at = (kind * window.len()) as isize + from;
            // SAFETY: every task has the positions of a line that are inside the window.
            let to = unsafe { target.part(at as usize * position, columns.len() * position) };
            let pixels = columns.start * self.stride..columns.end * self.stride;
            match usize::try_from(line) {
                Ok(line) if line < self.batch * self.image_rows => {
                    self.fill(parts, channels, [line / self.image_rows, line % self.image_rows * self.stride + kind], pixels, to);
                }
                _ => to.fill(0),
            }
        });
        copy
    }

    /// Some pixels of a row and of the gap behind it.
    fn fill(&self, parts: &[Part], channels: usize, [image, y]: [usize; 2], columns: Range<usize>, line: &mut [u16]) {
        if y >= self.height {
            return line.fill(0);
        }
        let (pixels, gap) = line.split_at_mut(columns.end.min(self.width).saturating_sub(columns.start) * channels);
        gap.fill(0);
        vectorised(
            #[inline(always)]
            || {
                let mut first = 0;
                for part in parts {
                    let half = usize::from(part.halved);
                    let (height, width, own) = (self.height >> half, self.width >> half, part.channels);
                    let source = &part.values[(image * height + (y >> half)) * width * own..][..width * own];
                    if own == channels && !part.halved {
                        let source = &source[columns.start.min(width) * own..];
                        pixels.iter_mut().zip(source).for_each(|(to, from)| *to = round(*from));
                    } else {
                        for (x, pixel) in columns.clone().zip(pixels.chunks_exact_mut(channels)) {
                            let from = &source[(x >> half) * own..][..own];
                            pixel[first..first + own].iter_mut().zip(from).for_each(|(to, from)| *to = round(*from));
                        }
                    }
                    first += own;
                }
            },
        );
    }
}

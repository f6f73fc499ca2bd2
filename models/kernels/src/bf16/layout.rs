//! Layout of the padded bf16 copy of a feature map, in which every tap of a convolution reads at a constant offset from the output
//! position.
//!
//! Output pixels are numbered by *positions*, image by image and row by row. A gap of zeros after each row serves as the right padding of
//! the row and as the left padding of the next; rows of zeros do the same between images. A position covers `stride` adjacent input pixels,
//! and input rows are sorted by *phase*, their number modulo the stride. Under any tap, position `p` therefore reads at
//! `p * stride * channels + constant`, and the taps of one kernel row read one contiguous run of values.

use std::ops::Range;

use rayon::prelude::*;

use super::{Bf16Buffer, SharedBf16, round};
use crate::geometry::Geometry;
use crate::scratch::Pool;
use crate::simd::vectorised;
use crate::winograd::Part;

/// Positions and padding of one feature map.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Images.
    batch: usize,
    /// Rows and columns of the feature map that is copied.
    height: usize,
    width: usize,
    /// Rows and columns of the output.
    rows: usize,
    columns: usize,
    /// Number of positions of a row, and of rows of an image, gaps included.
    pitch: usize,
    image_rows: usize,
    /// Zero padding of the convolution, in pixels.
    padding: usize,
    /// Number of pixels that a position covers in each direction.
    pub stride: usize,
}

impl Layout {
    /// Returns the layout of the input of a convolution.
    pub fn of(geometry: Geometry) -> Self {
        let Geometry { batch, height, width, kernel, stride, halo } = geometry;
        assert_eq!(halo, crate::HaloRows::NONE, "bf16 needs whole feature maps");
        let ((rows, columns), padding) = (geometry.output(), kernel / 2);
        let (pitch, image_rows) = ((width + padding).div_ceil(stride), rows + padding.div_ceil(stride));
        Self { batch, height, width, rows, columns, pitch, image_rows, padding, stride }
    }

    /// Returns the layout of the output of the same convolution, with the same positions.
    pub fn of_output(self) -> Self {
        Self { height: self.rows, width: self.columns, stride: 1, ..self }
    }

    /// Returns the number of positions, gaps included.
    pub fn positions(&self) -> usize {
        self.batch * self.image_rows * self.pitch
    }

    /// Returns the number of zero positions before the first, which the window of the first pixel reads.
    pub fn leading(&self) -> usize {
        self.padding * self.pitch + self.padding
    }

    /// Returns the number of positions with the zero positions before and after.
    ///
    /// The zeros after the last position cover the windows of the last block, which may end 31 positions later, and the values that a run
    /// reads beyond its end: less than 32, which are two pixels of 16 channels.
    pub fn padded_positions(&self) -> usize {
        self.leading() + self.positions() + 32 + self.padding * self.pitch + self.padding + 3
    }

    /// Returns the phase of the row `shift` rows below a row of phase 0, and the distance of the two in positions.
    fn row_phase(&self, shift: isize) -> (usize, isize) {
        let stride = self.stride as isize;
        (shift.rem_euclid(stride) as usize, shift.div_euclid(stride) * self.pitch as isize)
    }

    /// Returns the offset at which position 0 reads in the padded copy under a tap `(dy, dx)` pixels away, in values.
    pub fn offset(&self, channels: usize, dy: isize, dx: isize) -> isize {
        let (phase, positions) = self.row_phase(dy);
        let positions = (phase * self.padded_positions() + self.leading()) as isize + positions;
        (positions * self.stride as isize + dx) * channels as isize
    }

    /// Returns the pixel phase and the offset at which position 0 reads in one channel of the transposed copy, under a tap `(dy, dx)`
    /// pixels away.
    pub fn transposed_offset(&self, dy: isize, dx: isize) -> (usize, isize) {
        let stride = self.stride as isize;
        let (phase, positions) = self.row_phase(dy);
        (phase * self.stride + dx.rem_euclid(stride) as usize, self.leading() as isize + positions + dx.div_euclid(stride))
    }

    /// Iterates over the output pixels `[image, y, x]` from a position on; gaps yield none.
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

    /// Returns the padded positions that blocks of some positions read.
    pub fn padded_range(&self, positions: Range<usize>) -> Range<usize> {
        positions.start..positions.end + self.padded_positions() - self.positions()
    }

    /// Returns the padded copy of the concatenated `parts`, rounded to bf16, for a range of padded positions:
    /// `[row phase][position][pixel][channel]`.
    pub(super) fn padded_copy(&self, pool: &Pool, parts: &[Part], window: Range<usize>) -> Bf16Buffer {
        let channels: usize = parts.iter().map(|part| part.channels).sum();
        for part in parts {
            let half = usize::from(part.halved);
            assert_eq!(part.values.len(), self.batch * (self.height >> half) * (self.width >> half) * part.channels);
        }
        let position = self.stride * channels;
        let mut copy = Bf16Buffer::take(pool, self.stride * window.len() * position);
        let target = SharedBf16::new(&mut copy);
        let (front, pitch) = (self.leading() as isize, self.pitch as isize);
        let first = (window.start as isize - front).div_euclid(pitch);
        let lines = (window.end as isize - front).div_euclid(pitch) - first + 1;
        (0..self.stride * lines as usize).into_par_iter().for_each(|task| {
            let (phase, line) = (task / lines as usize, first + task as isize % lines);
            let place = |padded: usize| (padded as isize - front - line * pitch).clamp(0, pitch) as usize;
            let columns = place(window.start)..place(window.end);
            let from = front + line * pitch + columns.start as isize - window.start as isize;
            let at = (phase * window.len()) as isize + from;
            // SAFETY: each task writes the positions of one line that lie inside the window.
            let to = unsafe { target.part(at as usize * position, columns.len() * position) };
            let pixels = columns.start * self.stride..columns.end * self.stride;
            match usize::try_from(line) {
                Ok(line) if line < self.batch * self.image_rows => {
                    self.fill_row(parts, channels, [line / self.image_rows, line % self.image_rows * self.stride + phase], pixels, to);
                }
                _ => to.fill(0),
            }
        });
        copy
    }

    /// Copies some pixels of a row and of the gap after the row.
    fn fill_row(&self, parts: &[Part], channels: usize, [image, y]: [usize; 2], columns: Range<usize>, line: &mut [u16]) {
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

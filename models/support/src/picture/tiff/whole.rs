//! An image of a TIFF file as a whole, as 8-bit RGB.

use rayon::prelude::*;

use super::file::BoundedFile;
use super::layout::Layout;
use super::part;
use super::samples::Range;
use crate::Result;

/// Number of tiles or strips that are decoded before they are copied into the picture, which bounds memory.
const PARTS_AT_ONCE: usize = 64;

/// Number of tiles whose brightness decides whether tiles that the writer left out are white or black.
const SAMPLED_TILES: usize = 9;

/// Image as 8-bit RGB.
pub struct Whole {
    /// Values in row-major order, red first.
    pub data: Vec<u8>,
    /// Notes for the user about conversions of samples.
    pub notes: Vec<String>,
}

/// Decodes an image; parts that the writer left out have the colour of [`background`]. The orientation tag is not applied.
///
/// # Errors
/// A damaged or missing part, or floating-point samples outside 0 to 255.
pub fn read(layout: &Layout, file: &BoundedFile, sample: Option<usize>) -> Result<Whole> {
    let parts: Vec<(u64, u64)> = (0..layout.rows).flat_map(|row| (0..layout.columns).map(move |column| (column, row))).collect();
    let factor = if layout.format.is_float { range(layout, file, &parts)?.factor()? } else { 1.0 };
    let (width, height) = (layout.width as usize, layout.height as usize);
    let mut data = background(file, layout, sample).repeat(width * height);
    let mut brightest = Range::EMPTY;
    for some in parts.chunks(PARTS_AT_ONCE) {
        let decoded = some.par_iter().map(|&(column, row)| {
            let samples = part::read(layout, file, column, row)?;
            let range =
                samples.as_ref().map_or(Range::EMPTY, |samples| if layout.format.bits == 16 { samples.range() } else { Range::EMPTY });
            Ok((range, samples.map(|samples| samples.to_rgb(&layout.format, sample, factor))))
        });
        let decoded: Vec<_> = decoded.collect::<Result<_>>()?;
        for (&(column, row), (range, pixels)) in some.iter().zip(decoded) {
            brightest = brightest.joined(range);
            if let Some(pixels) = pixels {
                paste(&mut data, layout, [column, row], &pixels);
            }
        }
    }
    Ok(Whole { data, notes: notes(layout, brightest, factor) })
}

fn range(layout: &Layout, file: &BoundedFile, parts: &[(u64, u64)]) -> Result<Range> {
    let ranges =
        parts.par_iter().map(|&(column, row)| Ok(part::read(layout, file, column, row)?.map_or(Range::EMPTY, |samples| samples.range())));
    ranges.try_reduce(|| Range::EMPTY, |a, b| Ok(a.joined(b)))
}

/// Copies the pixels of a part that lie inside the image.
fn paste(data: &mut [u8], layout: &Layout, [column, row]: [u64; 2], pixels: &[u8]) {
    let (left, top) = ((column * layout.part_width) as usize, (row * layout.part_height) as usize);
    let width = layout.width as usize;
    let columns = (layout.part_width as usize).min(width - left);
    let rows = (layout.part_rows(row) as usize).min(layout.height as usize - top);
    for (y, line) in pixels.chunks_exact(3 * layout.part_width as usize).take(rows).enumerate() {
        let start = 3 * ((top + y) * width + left);
        data[start..start + 3 * columns].copy_from_slice(&line[..3 * columns]);
    }
}

fn notes(layout: &Layout, brightest: Range, factor: f32) -> Vec<String> {
    let mut notes = Vec::new();
    if layout.format.is_float {
        notes.push(if factor == 1.0 { "float samples were taken as 0 to 255" } else { "float samples were taken as 0 to 1" }.to_owned());
    }
    if layout.format.bits == 16 {
        notes.push(deep_note(layout.format.white, Some(brightest.max)));
    }
    notes
}

/// Returns the note about 16-bit samples; `brightest` is the largest sample, if it is known.
pub fn deep_note(white: u16, brightest: Option<f32>) -> String {
    let divided = if white == u16::MAX {
        "16-bit samples were divided by 257".to_owned()
    } else {
        format!("16-bit samples were scaled from 0 to {white} to 0 to 255")
    };
    match brightest {
        Some(most) if most > 0.0 && most < f32::from(white) / 15.0 => {
            format!("{divided}; the largest is {most}, so that the picture is very dark: are these 12-bit samples? multiply them by 16")
        }
        _ => divided,
    }
}

/// Returns the colour of tiles that the writer left out: black if the stored tiles are dark, as in fluorescence, else white.
pub fn background(file: &BoundedFile, layout: &Layout, sample: Option<usize>) -> [u8; 3] {
    if !layout.has_left_out() || layout.format.is_float {
        return [255; 3];
    }
    let parts = (0..layout.rows).flat_map(|row| (0..layout.columns).map(move |column| (column, row)));
    let stored: Vec<_> = parts.filter(|&(column, row)| !layout.is_left_out(column, row)).collect();
    let (mut sum, mut count) = (0, 0);
    for &(column, row) in stored.iter().step_by(stored.len().div_ceil(SAMPLED_TILES).max(1)) {
        if let Ok(Some(samples)) = part::read(layout, file, column, row) {
            let pixels = samples.to_rgb(&layout.format, sample, 1.0);
            sum += pixels.iter().map(|&value| u64::from(value)).sum::<u64>();
            count += pixels.len() as u64;
        }
    }
    if count > 0 && sum < 128 * count { [0; 3] } else { [255; 3] }
}

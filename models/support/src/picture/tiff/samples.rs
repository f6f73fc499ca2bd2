//! Samples of a tile or strip, and their conversion to 8-bit RGB.

use super::format::{Alpha, Colour, Format};
use crate::{Result, bail};

/// Samples of some pixels, interleaved.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// Samples of at most 8 bits; grey of fewer bits is scaled to 0 to 255.
    Bytes(Vec<u8>),
    /// 16-bit samples.
    Words(Vec<u16>),
    /// Floating-point samples.
    Floats(Vec<f32>),
}

/// Range of the floating-point samples of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest value.
    pub min: f32,
    /// Largest value; NaN if any value is NaN.
    pub max: f32,
}

impl Range {
    /// Range of no value.
    pub const EMPTY: Self = Self { min: f32::INFINITY, max: f32::NEG_INFINITY };

    /// Returns the range of the values of both.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        if self.max.is_nan() || other.max.is_nan() {
            return Self { min: self.min, max: f32::NAN };
        }
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// Returns the factor from values of this range to 0 to 255: 255 for values up to 1, and 1 for values up to 255.
    ///
    /// # Errors
    /// Negative values, values above 255 or NaN.
    pub fn factor(self) -> Result<f32> {
        match self {
            Self { min: 0.0.., max: ..=1.0 } => Ok(255.0),
            Self { min: 0.0.., max: ..=255.0 } => Ok(1.0),
            Self { max, .. } if max.is_nan() => {
                bail!("expected floating-point samples from 0 to 1 or from 0 to 255, found NaN"; hint: "scale the values and save the image with 8 or 16 bits per channel")
            }
            Self { min, max } => {
                bail!("expected floating-point samples from 0 to 1 or from 0 to 255, found {min} to {max}"; hint: "scale the values and save the image with 8 or 16 bits per channel (ImageJ: Image > Type > 8-bit)")
            }
        }
    }
}

impl Samples {
    /// Converts the bytes of a part; each row of `row_bytes` bytes has `row_samples` samples.
    pub(super) fn of_bytes(format: &Format, bytes: Vec<u8>, row_bytes: usize, row_samples: usize) -> Self {
        let big = format.is_big_endian;
        match (format.bits, format.is_float) {
            (16, _) => Self::Words(words(&bytes, |b| if big { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) })),
            (32, _) => Self::Floats(words(&bytes, |b| if big { f32::from_be_bytes(b) } else { f32::from_le_bytes(b) })),
            (64, _) => Self::Floats(words(&bytes, |b| (if big { f64::from_be_bytes(b) } else { f64::from_le_bytes(b) }) as f32)),
            (8, _) => Self::Bytes(bytes),
            (bits, _) => Self::Bytes(unpacked(&bytes, row_bytes, row_samples, bits, format.colour == Colour::Palette)),
        }
    }

    /// Interleaves planes of equal length.
    pub(super) fn interleaved(planes: &[Self]) -> Self {
        fn mixed<T: Copy>(planes: &[&Vec<T>]) -> Vec<T> {
            (0..planes[0].len()).flat_map(|i| planes.iter().map(move |plane| plane[i])).collect()
        }
        let bytes: Vec<_> = planes.iter().filter_map(|plane| if let Self::Bytes(values) = plane { Some(values) } else { None }).collect();
        let deep: Vec<_> = planes.iter().filter_map(|plane| if let Self::Words(values) = plane { Some(values) } else { None }).collect();
        let floats: Vec<_> = planes.iter().filter_map(|plane| if let Self::Floats(values) = plane { Some(values) } else { None }).collect();
        match (bytes.is_empty(), deep.is_empty()) {
            (false, _) => Self::Bytes(mixed(&bytes)),
            (_, false) => Self::Words(mixed(&deep)),
            _ => Self::Floats(mixed(&floats)),
        }
    }

    /// Returns the range of the samples.
    pub fn range(&self) -> Range {
        let one = |value: f32| Range { min: value, max: value };
        match self {
            Self::Bytes(values) => values.iter().fold(Range::EMPTY, |range, &value| range.joined(one(f32::from(value)))),
            Self::Words(values) => values.iter().fold(Range::EMPTY, |range, &value| range.joined(one(f32::from(value)))),
            Self::Floats(values) => values.iter().fold(Range::EMPTY, |range, &value| range.joined(one(value))),
        }
    }

    /// Converts to 8-bit RGB: grey is repeated, palettes are looked up, and transparent pixels are composited over white.
    ///
    /// 16-bit samples are divided by `format.white / 255`, floats multiplied by `factor`. `sample` is the channel to take as grey; `None`
    /// takes the colour.
    pub fn to_rgb(self, format: &Format, sample: Option<usize>, factor: f32) -> Vec<u8> {
        let white = u32::from(format.white);
        let bytes: Vec<u8> = match self {
            Self::Bytes(values) => values,
            Self::Words(values) => {
                values.into_iter().map(|value| ((u32::from(value).min(white) * 255 + white / 2) / white) as u8).collect()
            }
            Self::Floats(values) => values.into_iter().map(|value| (value * factor).round() as u8).collect(),
        };
        let pixels = bytes.chunks_exact(format.samples);
        if let Some(sample) = sample {
            return pixels.flat_map(|pixel| [pixel[sample]; 3]).collect();
        }
        let colour = |pixel: &[u8]| match format.colour {
            Colour::Rgb | Colour::YCbCr => [pixel[0], pixel[1], pixel[2]],
            Colour::BlackIsZero => [pixel[0]; 3],
            Colour::WhiteIsZero => [255 - pixel[0]; 3],
            Colour::Palette => format.palette[usize::from(pixel[0])],
        };
        let alpha_at = format.colour.samples();
        match format.alpha {
            None if format.samples == 3 && alpha_at == 3 => bytes,
            None => pixels.flat_map(colour).collect(),
            Some(kind) => pixels.flat_map(|pixel| colour(pixel).map(|value| over_white(value, pixel[alpha_at], kind))).collect(),
        }
    }
}

/// Composites a value over white.
pub(in crate::picture) fn over_white(value: u8, alpha: u8, kind: Alpha) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    match kind {
        Alpha::Unassociated => ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8,
        Alpha::Associated => (value + 255 - alpha).min(255) as u8,
    }
}

fn words<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).map(|chunk| convert(chunk.try_into().expect("chunks of N bytes"))).collect()
}

/// Unpacks samples of 1, 2 or 4 bits, the first in the most significant bits; rows begin at whole bytes.
fn unpacked(bytes: &[u8], row_bytes: usize, row_samples: usize, bits: u32, is_index: bool) -> Vec<u8> {
    let most = (1u8 << bits) - 1;
    let scale = if is_index { 1 } else { 255 / most };
    let per_byte = 8 / bits as usize;
    let sample = |row: &[u8], i: usize| (row[i / per_byte] >> (8 - bits as usize * (i % per_byte + 1)) & most) * scale;
    bytes.chunks_exact(row_bytes).flat_map(|row| (0..row_samples).map(move |i| sample(row, i))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_from_0_to_1_and_from_0_to_255_are_told_apart_and_others_are_refused() {
        let range = |values: &[f32]| Samples::Floats(values.to_vec()).range();
        assert_eq!(range(&[0.0, 0.5, 1.0]).factor().unwrap(), 255.0);
        assert_eq!(range(&[0.0, 254.5]).factor().unwrap(), 1.0);
        for wrong in [[-0.1, 1.0], [0.0, 4095.0], [0.0, f32::NAN], [f32::NAN, 0.0], [0.0, f32::INFINITY]] {
            assert!(range(&wrong).factor().unwrap_err().hint_text().is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn samples_of_two_bits_fill_rows_of_whole_bytes() {
        assert_eq!(unpacked(&[0b0001_1011, 0b1100_0000], 2, 5, 2, false), [0, 85, 170, 255, 255]);
        assert_eq!(unpacked(&[0b0001_1011], 1, 3, 2, true), [0, 1, 2]);
    }
}

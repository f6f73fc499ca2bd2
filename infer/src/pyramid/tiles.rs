//! Compression of pyramid tiles, and reduction of rows to the next level.

use std::io::Write;

use flate2::Compression;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use zlib_rs::{DeflateConfig, ReturnCode, Strategy};

use super::TILE;

/// Returns the rounded means of 2 x 2 pixels of two rows; an odd last column is repeated.
pub fn halved(above: &[u8], below: &[u8], samples: usize) -> Vec<u8> {
    let width = above.len() / samples;
    let mut row = Vec::with_capacity(width.div_ceil(2) * samples);
    for x in (0..width).step_by(2) {
        for c in 0..samples {
            let (left, right) = (x * samples + c, (x + 1).min(width - 1) * samples + c);
            let sum: u16 = [above[left], above[right], below[left], below[right]].into_iter().map(u16::from).sum();
            row.push(((sum + 2) / 4) as u8);
        }
    }
    row
}

/// Cuts the tile at `column` from a row of tiles; pixels beyond the border repeat the border.
pub fn tile(rows: &[u8], width: usize, samples: usize, column: usize) -> Vec<u8> {
    let (bytes, height) = (width * samples, rows.len() / (width * samples));
    let (from, to) = (column * TILE * samples, ((column + 1) * TILE).min(width) * samples);
    let mut tile = Vec::with_capacity(TILE * TILE * samples);
    for y in 0..TILE {
        let row = &rows[y.min(height - 1) * bytes..][from..to];
        tile.extend_from_slice(row);
        for _ in (to - from) / samples..TILE {
            tile.extend_from_slice(&row[row.len() - samples..]);
        }
    }
    tile
}

/// Compression of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Deflate with string matching; lossless.
    Deflate,
    /// Deflate restricted to runs of one value, for images of few values; lossless, smaller and three times as fast for such images.
    Runs,
    /// Deflate, restricted to runs, of the differences to the left pixel (predictor 2), for 8-bit samples; lossless.
    Differences {
        /// Number of samples per pixel.
        samples: usize,
    },
    /// JPEG of RGB pixels at the quality of scanners, without chroma subsampling.
    Jpeg,
}

impl Coding {
    /// Typical quality of scanners.
    const JPEG_QUALITY: u8 = 80;

    /// Compresses one tile of `TILE * TILE` pixels.
    pub fn compress(self, bytes: &[u8]) -> Vec<u8> {
        let mut coded = Vec::new();
        match self {
            Self::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(&mut coded, Compression::new(3));
                encoder.write_all(bytes).and_then(|()| encoder.try_finish()).expect("writing to memory does not fail");
            }
            Self::Runs => coded = runs(bytes),
            Self::Differences { samples } => coded = runs(&differences(bytes, TILE, samples)),
            Self::Jpeg => JpegEncoder::new_with_quality(&mut coded, Self::JPEG_QUALITY)
                .encode(bytes, TILE as u32, TILE as u32, ExtendedColorType::Rgb8)
                .expect("an RGB tile can be encoded"),
        }
        coded
    }

    /// Returns the value of the tag `Compression`.
    pub fn tag(self) -> u64 {
        match self {
            Self::Deflate | Self::Runs | Self::Differences { .. } => 8,
            Self::Jpeg => 7,
        }
    }

    /// Returns the value of the tag `PhotometricInterpretation` for a number of samples per pixel.
    pub fn photometric(self, samples: u64) -> u64 {
        match self {
            Self::Jpeg => 6,
            _ if samples == 1 => 1,
            _ => 2,
        }
    }

    /// Returns the value of the tag `Predictor`.
    pub fn predictor(self) -> u64 {
        match self {
            Self::Differences { .. } => 2,
            Self::Deflate | Self::Runs | Self::Jpeg => 1,
        }
    }
}

/// Compresses bytes to a zlib stream with run-length matches and Huffman coding only.
pub fn runs(bytes: &[u8]) -> Vec<u8> {
    let mut coded = vec![0; zlib_rs::compress_bound(bytes.len())];
    let config = DeflateConfig { strategy: Strategy::Rle, ..DeflateConfig::default() };
    let (written, code) = zlib_rs::compress_slice(&mut coded, bytes, config);
    assert_eq!(code, ReturnCode::Ok, "the buffer has room for the worst case");
    let len = written.len();
    coded.truncate(len);
    coded
}

/// Returns rows of `width` pixels as differences of each sample to the sample of the left pixel.
pub fn differences(bytes: &[u8], width: usize, samples: usize) -> Vec<u8> {
    let mut result = bytes.to_vec();
    for (to, row) in result.chunks_mut(width * samples).zip(bytes.chunks(width * samples)) {
        let next = row[samples..].iter().zip(row);
        to[samples..].iter_mut().zip(next).for_each(|(to, (own, left))| *to = own.wrapping_sub(*left));
    }
    result
}

/// Returns a TIFF rational, numerator and denominator, as the eight bytes of an entry.
pub fn rational(value: f64) -> u64 {
    let denominator = 10_000u64;
    let numerator = ((value * denominator as f64).round() as u64).min(u64::from(u32::MAX));
    denominator << 32 | numerator
}

//! Rows of pixels to the compressed tiles of a pyramid and to rows of the level below.

use std::io::Write;

use flate2::Compression;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use zlib_rs::{DeflateConfig, ReturnCode, Strategy};

use super::pyramid::TILE;

/// The rounded means of 2 x 2 pixels; an odd last column stands for its missing neighbour.
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

/// One tile of a row of tiles.
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

/// How tiles are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Deflate of repeated stretches of bytes: lossless.
    Deflate,
    /// Deflate of runs of one value, for pictures of few colours: lossless, smaller and three times as fast there.
    Runs,
    /// The same of differences to the pixel on the left (predictor 2), for pictures of samples of eight bits.
    Differences {
        /// Samples of a pixel.
        samples: usize,
    },
    /// JPEG of RGB pixels at a scanner's quality, colours at full resolution.
    Jpeg,
}

impl Coding {
    /// The quality that scanners save at, more or less.
    const JPEG_QUALITY: u8 = 80;

    /// One tile of `TILE * TILE` pixels.
    pub fn compress(self, bytes: &[u8]) -> Vec<u8> {
        let mut coded = Vec::new();
        match self {
            Self::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(&mut coded, Compression::new(3));
                encoder.write_all(bytes).and_then(|()| encoder.try_finish()).expect("writing into memory does not fail");
            }
            Self::Runs => coded = runs(bytes),
            Self::Differences { samples } => coded = runs(&differences(bytes, TILE, samples)),
            Self::Jpeg => JpegEncoder::new_with_quality(&mut coded, Self::JPEG_QUALITY)
                .encode(bytes, TILE as u32, TILE as u32, ExtendedColorType::Rgb8)
                .expect("a tile of RGB can be coded"),
        }
        coded
    }

    /// The value of the field `Compression`.
    pub fn tag(self) -> u64 {
        match self {
            Self::Deflate | Self::Runs | Self::Differences { .. } => 8,
            Self::Jpeg => 7,
        }
    }

    /// The value of the field `PhotometricInterpretation` for so many samples a pixel.
    pub fn photometric(self, samples: u64) -> u64 {
        match self {
            Self::Jpeg => 6,
            _ if samples == 1 => 1,
            _ => 2,
        }
    }

    /// The value of the field `Predictor`.
    pub fn predictor(self) -> u64 {
        match self {
            Self::Differences { .. } => 2,
            Self::Deflate | Self::Runs | Self::Jpeg => 1,
        }
    }
}

/// A zlib stream in which only runs of one byte are made shorter, apart from what Huffman's code does.
pub fn runs(bytes: &[u8]) -> Vec<u8> {
    let mut coded = vec![0; zlib_rs::compress_bound(bytes.len())];
    let config = DeflateConfig { strategy: Strategy::Rle, ..DeflateConfig::default() };
    let (written, code) = zlib_rs::compress_slice(&mut coded, bytes, config);
    assert_eq!(code, ReturnCode::Ok, "there is room for the worst case");
    let len = written.len();
    coded.truncate(len);
    coded
}

/// Rows of `width` pixels as differences of each sample to that of the pixel on the left.
pub fn differences(bytes: &[u8], width: usize, samples: usize) -> Vec<u8> {
    let mut of = bytes.to_vec();
    for (to, row) in of.chunks_mut(width * samples).zip(bytes.chunks(width * samples)) {
        let next = row[samples..].iter().zip(row);
        to[samples..].iter_mut().zip(next).for_each(|(to, (own, left))| *to = own.wrapping_sub(*left));
    }
    of
}

/// `value` as numerator and denominator, in the eight bytes of a field.
pub fn rational(value: f64) -> u64 {
    let denominator = 10_000u64;
    let numerator = ((value * denominator as f64).round() as u64).min(u64::from(u32::MAX));
    denominator << 32 | numerator
}

//! Decoding of one compressed tile to RGB.

use std::io::Read;

use support::{Context, Error, Result, bail};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::Rgb;

/// Storage format of the tiles of an image.
pub struct TileFormat {
    /// Compression of the bytes.
    pub compression: Compression,
    /// Meaning of the samples.
    pub photometric: Photometric,
    /// True if samples are differences to their left neighbours (TIFF predictor 2).
    pub predictor: bool,
    /// Number of columns of every tile.
    pub tile_width: usize,
    /// Number of rows of every tile.
    pub tile_height: usize,
    /// Quantisation and Huffman tables that all JPEG tiles have in common.
    pub jpeg_tables: Option<Vec<u8>>,
}

/// Compression of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Uncompressed samples.
    None,
    /// LZW, most significant bit first, with the early code switch of TIFF 6.0, section 13.
    Lzw,
    /// JPEG by TIFF Technical Note 2.
    Jpeg,
    /// Deflate in the zlib format (RFC 1950).
    Deflate,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Meaning of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Photometric {
    /// Grey, 0 is white.
    WhiteIsZero,
    /// Grey, 0 is black.
    BlackIsZero,
    /// Red, green, blue.
    Rgb,
    /// Luma and two chroma samples; only in JPEG tiles.
    YCbCr,
}

impl Compression {
    /// Returns the compression of a value of the field `Compression`.
    pub fn from_tag(value: u64) -> Result<Self> {
        Ok(match value {
            1 => Self::None,
            5 => Self::Lzw,
            7 => Self::Jpeg,
            8 | 32946 => Self::Deflate,
            50000 => Self::Zstd,
            _ => bail!("compression {value} is not supported"),
        })
    }
}

impl Photometric {
    /// Returns the meaning of a value of the field `PhotometricInterpretation`.
    pub fn from_tag(value: u64) -> Result<Self> {
        Ok(match value {
            0 => Self::WhiteIsZero,
            1 => Self::BlackIsZero,
            2 => Self::Rgb,
            6 => Self::YCbCr,
            _ => bail!("photometric interpretation {value} is not supported"),
        })
    }

    /// Returns the number of samples per pixel.
    fn samples(self) -> usize {
        match self {
            Self::WhiteIsZero | Self::BlackIsZero => 1,
            Self::Rgb | Self::YCbCr => 3,
        }
    }
}

/// Returns an upper bound of the compressed size of a tile in bytes: twice the samples, and 1 MiB for headers.
pub fn max_compressed_bytes(format: &TileFormat) -> u64 {
    (format.tile_width * format.tile_height * format.photometric.samples() * 2 + (1 << 20)) as u64
}

/// Decodes a tile; decompression stops at the size of the tile, so that a damaged tile cannot exhaust memory.
///
/// # Errors
/// A damaged or truncated tile, or an unsupported combination of compression and samples.
pub fn decode(format: &TileFormat, data: &[u8]) -> Result<Rgb> {
    if data.is_empty() {
        bail!("the tile has no bytes");
    }
    let expected = format.tile_width * format.tile_height * format.photometric.samples();
    let mut samples = match format.compression {
        Compression::Jpeg => jpeg(format, data).doing(|| "JPEG tile")?,
        _ if format.photometric == Photometric::YCbCr => bail!("YCbCr samples outside of JPEG are not supported"),
        Compression::None => data.to_vec(),
        Compression::Deflate => deflate(data, expected).doing(|| "deflate tile")?,
        Compression::Zstd => zstd(data, expected).doing(|| "zstd tile")?,
        Compression::Lzw => lzw(data, expected).doing(|| "LZW tile")?,
    };
    if samples.len() < expected {
        bail!("the tile holds {} bytes of pixels, expected {expected}", samples.len());
    }
    samples.truncate(expected);
    if format.predictor && format.compression != Compression::Jpeg {
        undo_predictor(&mut samples, format.tile_width, format.photometric.samples());
    }
    Ok(Rgb { width: format.tile_width, height: format.tile_height, data: to_rgb(format.photometric, samples) })
}

/// Converts samples to RGB.
fn to_rgb(photometric: Photometric, samples: Vec<u8>) -> Vec<u8> {
    match photometric {
        Photometric::Rgb | Photometric::YCbCr => samples,
        Photometric::BlackIsZero => samples.into_iter().flat_map(|v| [v; 3]).collect(),
        Photometric::WhiteIsZero => samples.into_iter().flat_map(|v| [255 - v; 3]).collect(),
    }
}

fn deflate(data: &[u8], expected: usize) -> Result<Vec<u8>> {
    let mut samples = Vec::with_capacity(expected);
    flate2::read::ZlibDecoder::new(data).take(expected as u64).read_to_end(&mut samples)?;
    Ok(samples)
}

fn zstd(data: &[u8], expected: usize) -> Result<Vec<u8>> {
    let mut samples = Vec::with_capacity(expected);
    ruzstd::decoding::StreamingDecoder::new(data)?.take(expected as u64).read_to_end(&mut samples)?;
    Ok(samples)
}

fn lzw(data: &[u8], expected: usize) -> Result<Vec<u8>> {
    let mut samples = vec![0; expected];
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
    let (mut read, mut written) = (0, 0);
    while written < expected {
        let step = decoder.decode_bytes(&data[read..], &mut samples[written..]);
        (read, written) = (read + step.consumed_in, written + step.consumed_out);
        match step.status? {
            weezl::LzwStatus::Ok => {}
            weezl::LzwStatus::NoProgress | weezl::LzwStatus::Done => break,
        }
    }
    samples.truncate(written);
    Ok(samples)
}

/// Adds each sample to that of the left pixel (TIFF predictor 2).
fn undo_predictor(samples: &mut [u8], width: usize, per_pixel: usize) {
    for row in samples.chunks_exact_mut(width * per_pixel) {
        for i in per_pixel..row.len() {
            row[i] = row[i].wrapping_add(row[i - per_pixel]);
        }
    }
}

fn jpeg(format: &TileFormat, data: &[u8]) -> Result<Vec<u8>> {
    let stream = with_tables(data, format.jpeg_tables.as_deref());
    // With YCbCr as output, the decoder does not convert the stored samples, which are RGB if the TIFF field says so.
    let unconverted = ColorSpace::YCbCr;
    let colours = match format.photometric {
        Photometric::WhiteIsZero | Photometric::BlackIsZero => ColorSpace::Luma,
        Photometric::Rgb => unconverted,
        Photometric::YCbCr => ColorSpace::RGB,
    };
    let options = DecoderOptions::default()
        .set_max_width(format.tile_width)
        .set_max_height(format.tile_height)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(colours);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&stream), options);
    let failed = |error: zune_jpeg::errors::DecodeErrors| Error::new(error.to_string());
    decoder.decode_headers().map_err(failed)?;
    if decoder.input_colorspace() == Some(ColorSpace::RGB) && format.photometric == Photometric::Rgb {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::RGB));
    }
    let info = decoder.info().expect("the header was decoded");
    if (info.width as usize, info.height as usize) != (format.tile_width, format.tile_height) {
        bail!("{} x {} px, expected {} x {}", info.width, info.height, format.tile_width, format.tile_height);
    }
    decoder.decode().map_err(failed)
}

/// Inserts the common tables after the start marker of a tile: tables are `SOI ... EOI`, tiles are `SOI ...`.
fn with_tables<'a>(data: &'a [u8], tables: Option<&[u8]>) -> std::borrow::Cow<'a, [u8]> {
    const SOI: [u8; 2] = [0xff, 0xd8];
    const EOI: [u8; 2] = [0xff, 0xd9];
    let tables = tables.map(|tables| tables.strip_prefix(&SOI).unwrap_or(tables));
    let tables = tables.map(|tables| tables.strip_suffix(&EOI).unwrap_or(tables));
    match (tables, data.strip_prefix(&SOI)) {
        (Some(tables), Some(rest)) => [&SOI, tables, rest].concat().into(),
        _ => data.into(),
    }
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    #[test]
    fn a_zstd_tile_round_trips_and_a_damaged_one_is_refused() {
        let format = TileFormat {
            compression: Compression::Zstd,
            photometric: Photometric::Rgb,
            predictor: false,
            tile_width: 64,
            tile_height: 48,
            jpeg_tables: None,
        };
        let samples: Vec<u8> = (0..64 * 48 * 3u32).map(|i| (i / 5 * 77 % 251) as u8).collect();
        let packed = compress_to_vec(samples.as_slice(), CompressionLevel::Fastest);
        assert_eq!(decode(&format, &packed).unwrap().data, samples);
        assert!(decode(&format, &packed[..packed.len() / 2]).is_err());
        let more = compress_to_vec(samples.repeat(50).as_slice(), CompressionLevel::Fastest);
        assert_eq!(decode(&format, &more).unwrap().data.len(), samples.len(), "decompression stops at the size of the tile");
        assert!(decode(&format, b"no zstd").is_err());
    }
}

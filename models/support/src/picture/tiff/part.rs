//! Decoding of one tile or strip.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::compression::Compression;
use super::file::BoundedFile;
use super::format::{Colour, Format, Predictor};
use super::layout::Layout;
use super::samples::Samples;
use crate::{Context, Error, Result, bail};

/// Reads the samples of a tile or strip, interleaved; `None` if the writer left the part out.
///
/// Decompression stops at the size of the part, so that a damaged part cannot exhaust memory.
///
/// # Errors
/// A damaged or truncated part.
pub fn read(layout: &Layout, file: &BoundedFile, column: u64, row: u64) -> Result<Option<Samples>> {
    if layout.is_left_out(column, row) {
        return Ok(None);
    }
    let planes = if layout.format.is_planar { layout.format.samples as u64 } else { 1 };
    let first = row * layout.columns + column;
    let planes = (0..planes).map(|plane| {
        let index = first + plane * layout.columns * layout.rows;
        let kind = if layout.is_tiled { "tile" } else { "strip" };
        one(layout, file, index as usize, row).doing(|| format!("{kind} {index} at byte {}", layout.offsets[index as usize]))
    });
    let mut planes = planes.collect::<Result<Vec<_>>>()?;
    Ok(Some(if planes.len() == 1 { planes.remove(0) } else { Samples::interleaved(&planes) }))
}

/// Reads the samples of one tile or strip of one plane.
fn one(layout: &Layout, file: &BoundedFile, index: usize, row: u64) -> Result<Samples> {
    let (offset, bytes) = (layout.offsets[index], layout.byte_counts[index]);
    let expected = layout.decompressed_bytes(row);
    let limit = expected as u64 * 2 + (1 << 20); // headers and data that compression made longer
    if bytes > limit {
        bail!("{bytes} bytes, expected at most {limit}");
    }
    let data = file.read(offset, bytes)?;
    decode(&layout.format, &data, [layout.part_width as usize, layout.part_rows(row) as usize])
}

/// Decodes a tile or strip of `[columns, rows]` pixels.
pub fn decode(format: &Format, data: &[u8], [width, height]: [usize; 2]) -> Result<Samples> {
    if data.is_empty() {
        bail!("expected compressed pixels, found no bytes");
    }
    let row_bytes = format.row_bytes(width);
    let expected = row_bytes * height;
    let mut bytes = match format.compression {
        Compression::Jpeg => jpeg(format, data, [width, height]).doing(|| "JPEG")?,
        compression => compression.unpack(data, expected).doing(|| format!("{compression:?} compression"))?,
    };
    if bytes.len() < expected {
        bail!("{} bytes of pixels, expected {expected}", bytes.len());
    }
    bytes.truncate(expected);
    match format.predictor {
        Predictor::None => {}
        Predictor::Horizontal => undo_horizontal(format, &mut bytes, row_bytes),
        Predictor::Float => undo_float(format, &mut bytes, row_bytes),
    }
    Ok(Samples::of_bytes(format, bytes, row_bytes, width * format.samples_in_part()))
}

/// Adds each sample to that of the left pixel (TIFF predictor 2).
fn undo_horizontal(format: &Format, bytes: &mut [u8], row_bytes: usize) {
    let size = format.bits as usize / 8;
    let step = size * format.samples_in_part();
    let number = |bytes: &[u8]| {
        let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if format.is_big_endian { bytes.iter().fold(0, push) } else { bytes.iter().rev().fold(0, push) }
    };
    for row in bytes.chunks_exact_mut(row_bytes) {
        if size == 1 {
            (step..row.len()).for_each(|i| row[i] = row[i].wrapping_add(row[i - step]));
            continue;
        }
        for i in (step..row.len()).step_by(size) {
            let sum = number(&row[i..i + size]).wrapping_add(number(&row[i - step..i - step + size]));
            if format.is_big_endian {
                row[i..i + size].copy_from_slice(&sum.to_be_bytes()[8 - size..]);
            } else {
                row[i..i + size].copy_from_slice(&sum.to_le_bytes()[..size]);
            }
        }
    }
}

/// Undoes TIFF predictor 3: differences of bytes, of which all most significant bytes of a row come first.
///
/// The floats then have the byte order of the file.
fn undo_float(format: &Format, bytes: &mut [u8], row_bytes: usize) {
    let (size, step) = (format.bits as usize / 8, format.samples_in_part());
    for row in bytes.chunks_exact_mut(row_bytes) {
        (step..row.len()).for_each(|i| row[i] = row[i].wrapping_add(row[i - step]));
        let planes = row.to_vec();
        let count = row_bytes / size;
        for (i, float) in row.chunks_exact_mut(size).enumerate() {
            for (k, byte) in float.iter_mut().enumerate() {
                *byte = planes[if format.is_big_endian { k } else { size - 1 - k } * count + i];
            }
        }
    }
}

fn jpeg(format: &Format, data: &[u8], [width, height]: [usize; 2]) -> Result<Vec<u8>> {
    let stream = with_tables(data, format.jpeg_tables.as_deref());
    // With YCbCr as output, the decoder does not convert the stored samples, which are RGB if the TIFF field says so.
    let unconverted = ColorSpace::YCbCr;
    let colours = match format.colour {
        _ if format.is_planar => ColorSpace::Luma,
        Colour::Rgb => unconverted,
        Colour::YCbCr => ColorSpace::RGB,
        Colour::WhiteIsZero | Colour::BlackIsZero | Colour::Palette => ColorSpace::Luma,
    };
    let options = DecoderOptions::default()
        .set_max_width(width)
        .set_max_height(height.next_multiple_of(16))
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(colours);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&stream), options);
    let failed = |error: zune_jpeg::errors::DecodeErrors| Error::new(error.to_string());
    decoder.decode_headers().map_err(failed)?;
    if decoder.input_colorspace() == Some(ColorSpace::RGB) && format.colour == Colour::Rgb {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::RGB));
    }
    let info = decoder.info().expect("the header was decoded");
    // Some writers give the last strip the height of the others.
    if info.width as usize != width || (info.height as usize) < height {
        bail!("{} x {} px, expected {width} x {height}", info.width, info.height);
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

    fn format(compression: Compression) -> Format {
        Format {
            compression,
            colour: Colour::Rgb,
            bits: 8,
            is_float: false,
            samples: 3,
            is_planar: false,
            predictor: Predictor::None,
            is_big_endian: false,
            alpha: None,
            palette: Vec::new(),
            white: u16::MAX,
            jpeg_tables: None,
        }
    }

    #[test]
    fn a_zstd_tile_round_trips_and_a_damaged_one_is_refused() {
        let (format, size) = (format(Compression::Zstd), [64, 48]);
        let samples: Vec<u8> = (0..64 * 48 * 3u32).map(|i| (i / 5 * 77 % 251) as u8).collect();
        let packed = compress_to_vec(samples.as_slice(), CompressionLevel::Fastest);
        assert_eq!(decode(&format, &packed, size).unwrap(), Samples::Bytes(samples.clone()));
        assert!(decode(&format, &packed[..packed.len() / 2], size).is_err());
        let more = compress_to_vec(samples.repeat(50).as_slice(), CompressionLevel::Fastest);
        assert_eq!(decode(&format, &more, size).unwrap(), Samples::Bytes(samples), "decompression stops at the size of the tile");
        assert!(decode(&format, b"no zstd", size).is_err());
    }

    #[test]
    fn run_lengths_and_both_predictors_are_undone() {
        let runs = Compression::PackBits.unpack(&[0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0x80], 9).unwrap();
        assert_eq!(runs, [0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a]);
        let mut deep =
            Format { bits: 16, predictor: Predictor::Horizontal, samples: 1, colour: Colour::BlackIsZero, ..format(Compression::None) };
        let words = decode(&deep, &[0xff, 0x00, 0x02, 0x00, 0xff, 0xff], [3, 1]).unwrap();
        assert_eq!(words, Samples::Words(vec![255, 257, 256]));
        (deep.bits, deep.is_float, deep.predictor) = (32, true, Predictor::Float);
        // 1.0 and 2.0 are 3f800000 and 40000000: bytes 3f 40, 80 00, 00 00, 00 00 as differences.
        let floats = decode(&deep, &[0x3f, 0x01, 0x40, 0x80, 0x00, 0x00, 0x00, 0x00], [2, 1]).unwrap();
        assert_eq!(floats, Samples::Floats(vec![1.0, 2.0]));
    }
}

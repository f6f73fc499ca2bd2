//! JPEG streams: structure up to the end-of-image marker (EOI), and strict decoding.
//!
//! Reference: ITU-T T.81, annex B.

use std::borrow::Cow;
use std::ops::Range;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{DAMAGED, Header};
use crate::{Context, Error, Result, bail};

/// Start-of-image marker (SOI).
const START: [u8; 2] = [0xff, 0xd8];
/// End-of-image marker (EOI).
const END: [u8; 2] = [0xff, 0xd9];
/// Second byte of the start-of-scan marker (SOS), which precedes entropy-coded data.
const START_OF_SCAN: u8 = 0xda;

/// Decodes a JPEG file to grey or RGB, using at most `max_bytes` for its pixels; `accept` sees the header first.
pub fn decode(bytes: &[u8], max_bytes: u64, accept: impl FnOnce(&Header) -> Result<()>) -> Result<DynamicImage> {
    decode_oriented(bytes, max_bytes, accept).map(|(picture, _)| picture)
}

/// Decodes a JPEG file as [`decode`] does; returns the pixels as stored, with their orientation by EXIF.
pub fn decode_oriented(bytes: &[u8], max_bytes: u64, accept: impl FnOnce(&Header) -> Result<()>) -> Result<(DynamicImage, Orientation)> {
    let stream = whole(bytes).hint(|| DAMAGED)?;
    let mut decoder = decoder(&stream);
    decoder.decode_headers().map_err(|error| failed(&error)).doing(|| "reading the header").hint(|| DAMAGED)?;
    let info = decoder.info().expect("the header was decoded");
    if let Some(colours @ (ColorSpace::CMYK | ColorSpace::YCCK)) = decoder.input_colorspace() {
        bail!("expected a JPEG in grey or RGB colours, found {colours:?}"; hint: "convert the image to RGB, for example in the program that exported it for print");
    }
    let is_grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif)).unwrap_or(Orientation::NoTransforms);
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let decoded_bytes = u64::from(width) * u64::from(height) * if is_grey { 1 } else { 3 };
    accept(&Header { width, height, bytes: decoded_bytes, bits: 8 })?;
    if decoded_bytes > max_bytes {
        bail!("{width} x {height} px take {decoded_bytes} bytes, more than the {max_bytes} that are allowed");
    }
    decoder.set_options(options().jpeg_set_out_colorspace(if is_grey { ColorSpace::Luma } else { ColorSpace::RGB }));
    let pixels = decoder.decode().map_err(|error| failed(&error)).doing(|| "decoding pixels").hint(|| DAMAGED)?;
    let picture = if is_grey {
        GrayImage::from_raw(width, height, pixels).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, pixels).map(DynamicImage::from)
    };
    Ok((picture.expect("the decoder fills all rows"), orientation))
}

/// Checks one strip or tile of a TIFF file; `tables` are the JPEG tables that all strips or tiles have in common.
pub fn check_part(tables: Option<&[u8]>, part: &[u8]) -> Result<()> {
    let tables = tables.map(|tables| tables.strip_suffix(&END).unwrap_or(tables));
    let joined = match (tables, part.strip_prefix(&START)) {
        (Some(tables), Some(rest)) => Cow::from([tables, rest].concat()),
        _ => part.into(),
    };
    let stream = whole(&joined)?;
    let mut decoder = decoder(&stream);
    decoder.decode_headers().map_err(|error| failed(&error))?;
    if let Some(stored) = decoder.input_colorspace() {
        decoder.set_options(options().jpeg_set_out_colorspace(stored));
    }
    decoder.decode().map_err(|error| failed(&error)).map(drop)
}

fn options() -> DecoderOptions {
    DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX)
}

fn decoder(stream: &[u8]) -> JpegDecoder<ZCursor<&[u8]>> {
    JpegDecoder::new_with_options(ZCursor::new(stream), options())
}

/// Converts an error of the decoder.
fn failed(error: &zune_jpeg::errors::DecodeErrors) -> Error {
    Error::new(error.to_string())
}

/// Returns the picture up to its end-of-image marker.
///
/// The marker of a thumbnail does not count, because it lies within a segment. Bytes between segments, which some cameras write and
/// strict decoders refuse, are left out. Bytes after the marker do not belong to the picture.
///
/// # Errors
/// A stream without the marker, because pixels may be missing then.
fn whole(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    if !bytes.starts_with(&START) {
        bail!("expected a JPEG stream, found other bytes");
    }
    let mut kept: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    loop {
        let Some(marker) = next_marker(bytes, at) else {
            bail!("expected an end-of-image marker after the pixels, found the end of the file at byte {}", bytes.len());
        };
        let end = match bytes[marker + 1] {
            // Markers without a segment: TEM, restarts, the start and the end of the picture.
            1 | 0xd0..=0xd9 => marker + 2,
            code => {
                let Some(length) = bytes.get(marker + 2..marker + 4) else {
                    bail!("expected the length of a segment, found the end of the file at byte {}", bytes.len());
                };
                let end = marker + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
                if code == START_OF_SCAN { end_of_scan(bytes, end) } else { end }
            }
        };
        if end > bytes.len() {
            bail!("expected a segment of {} bytes at byte {marker}, found the end of the file at byte {}", end - marker, bytes.len());
        }
        match kept.last_mut() {
            Some(last) if last.end == marker => last.end = end,
            _ => kept.push(marker..end),
        }
        if bytes[marker..].starts_with(&END) {
            break;
        }
        at = end;
    }
    Ok(match kept.as_slice() {
        [one] => bytes[one.clone()].into(),
        several => several.iter().flat_map(|range| &bytes[range.clone()]).copied().collect::<Vec<u8>>().into(),
    })
}

/// Returns the position of the next marker from byte `at` on; fill bytes are skipped.
fn next_marker(bytes: &[u8], at: usize) -> Option<usize> {
    let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff);
    bytes.get(at..)?.windows(2).position(is_marker).map(|offset| at + offset)
}

/// Returns the position of the first marker after entropy-coded data that is not a restart marker (RST).
fn end_of_scan(bytes: &[u8], mut at: usize) -> usize {
    while let Some(marker) = next_marker(bytes, at) {
        if !matches!(bytes[marker + 1], 0xd0..=0xd7) {
            return marker;
        }
        at = marker + 2;
    }
    bytes.len()
}

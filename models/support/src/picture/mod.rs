//! Strict decoding of picture files (PNG, JPEG, TIFF): a truncated or damaged file is an error.
//!
//! The decoders of the crate `image` fill the missing part of a JPEG with grey and report success, because a browser shows as much of a
//! picture as exists. Here a missing part is an error: in JPEG files, and in TIFF files with JPEG strips or tiles. PNG and the other
//! compressions of TIFF are strict already.

mod jpeg;
mod tiff_parts;

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::Path;

use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::{Context, Result, bail, durable};
pub use tiff_parts::check as check_tiff;

/// Hint of errors about truncated or damaged files.
const DAMAGED: &str = "the file is cut short or damaged: copy or export it again";

/// Properties of a picture that are known before its pixels are decoded.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes of the decoded pixels.
    pub bytes: u64,
    /// Bits per sample in the file.
    pub bits: u16,
}

/// Opens a picture file and recognises its format by its first bytes.
pub fn open(path: &Path) -> Result<ImageReader<BufReader<File>>> {
    Ok(ImageReader::new(BufReader::new(durable::open(path)?)).with_guessed_format()?)
}

/// Decodes a picture whose format is known to `reader`, using at most `max_bytes` of memory for its pixels.
///
/// `accept` is called with the header before memory is allocated, and can refuse the picture.
pub fn decode<R: BufRead + Seek>(
    reader: ImageReader<R>,
    max_bytes: u64,
    accept: impl FnOnce(&Header) -> Result<()>,
) -> Result<DynamicImage> {
    let Some(format) = reader.format() else { bail!("expected a PNG, TIFF or JPEG picture, found something else") };
    let mut source = reader.into_inner();
    let decoded = match format {
        ImageFormat::Jpeg => {
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes)?;
            return jpeg::decode(&bytes, max_bytes, accept);
        }
        ImageFormat::Tiff => tiff_parts::check(&mut source).and_then(|()| with_image(source, format, max_bytes, accept)),
        _ => with_image(source, format, max_bytes, accept),
    };
    decoded.hint(|| DAMAGED)
}

/// Decodes a picture by the crate `image`.
fn with_image<R: BufRead + Seek>(
    source: R,
    format: ImageFormat,
    max_bytes: u64,
    accept: impl FnOnce(&Header) -> Result<()>,
) -> Result<DynamicImage> {
    let mut reader = ImageReader::with_format(source, format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(max_bytes);
    reader.limits(limits);
    let decoder = reader.into_decoder().doing(|| "reading the header")?;
    let (width, height) = decoder.dimensions();
    let bits = bits_of_sample(decoder.original_color_type());
    accept(&Header { width, height, bytes: decoder.total_bytes(), bits })?;
    DynamicImage::from_decoder(decoder).doing(|| "decoding pixels")
}

fn bits_of_sample(colour: ExtendedColorType) -> u16 {
    colour.bits_per_pixel() / u16::from(colour.channel_count())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use super::*;

    fn stored(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/pictures").join(name)).unwrap()
    }

    fn decoded(bytes: &[u8]) -> Result<DynamicImage> {
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().unwrap();
        decode(reader, 1 << 30, |_| Ok(()))
    }

    fn leniently(bytes: &[u8]) -> DynamicImage {
        image::load_from_memory(bytes).unwrap()
    }

    const JPEGS: [&str; 6] = ["baseline.jpg", "progressive.jpg", "restarts.jpg", "grey.jpg", "interval_300.jpg", "camera.jpg"];

    #[test]
    fn complete_pictures_decode_as_by_the_lenient_decoder() {
        for name in JPEGS.into_iter().chain(["strips.tif", "tiles.tif"]) {
            let bytes = stored(name);
            assert!(decoded(&bytes).unwrap() == leniently(&bytes), "{name}");
        }
    }

    #[test]
    fn every_prefix_of_a_jpeg_is_refused_with_a_hint() {
        for name in JPEGS {
            let bytes = stored(name);
            let end = if name == "camera.jpg" { end_of_the_first_picture(&bytes) } else { bytes.len() };
            assert!(decoded(&bytes[..end]).is_ok(), "{name}");
            for length in 3..end {
                let error = decoded(&bytes[..length]).expect_err(&format!("{name}: {length} of {end} bytes"));
                assert!(error.hint_text().is_some_and(|hint| hint.contains("cut short")), "{name}, {length} bytes: {error:?}");
            }
        }
    }

    /// Returns the end of the picture; 64 zero bytes and a copy of the thumbnail follow.
    fn end_of_the_first_picture(bytes: &[u8]) -> usize {
        bytes.windows(66).position(|window| window.starts_with(&[0xff, 0xd9]) && window[2..].iter().all(|&byte| byte == 0)).unwrap() + 2
    }

    #[test]
    fn bytes_between_segments_and_fill_bytes_are_accepted() {
        let bytes = stored("baseline.jpg");
        let expected = leniently(&bytes);
        let second = 2 + 2 + usize::from(bytes[4]) * 256 + usize::from(bytes[5]);
        for padding in [vec![0; 9], vec![0xff; 3], b"a padded segment".to_vec()] {
            let padded = [&bytes[..second], &padding, &bytes[second..]].concat();
            assert!(decoded(&padded).unwrap() == expected, "{padding:?}");
        }
        let last = bytes.len() - 2;
        let filled = [&bytes[..last], &[0xff; 5], &bytes[last..]].concat();
        assert!(decoded(&filled).unwrap() == expected, "fill bytes before the end mark");
    }

    #[test]
    fn damaged_jpeg_pixels_are_refused_instead_of_decoded_as_grey() {
        let bytes = stored("baseline.jpg");
        let (mut grey, mut refused) = (0, 0);
        for at in bytes.len() / 2..bytes.len() - 8 {
            let mut changed = bytes.clone();
            changed[at] = 0xff;
            changed[at + 1] = 0xc7;
            match decoded(&changed) {
                Err(_) => refused += 1,
                Ok(_) => grey += 1,
            }
        }
        assert_eq!(grey, 0, "{refused} were refused");
    }

    #[test]
    fn truncated_tiffs_with_jpeg_strips_or_tiles_are_refused() {
        for name in ["strips.tif", "tiles.tif"] {
            let bytes = stored(name);
            for length in 8..bytes.len() {
                let error = decoded(&bytes[..length]).expect_err(&format!("{name}: {length} bytes"));
                assert!(error.hint_text().is_some(), "{name}, {length} bytes: {error:?}");
            }
            // A marker that no baseline stream has damages a strip or tile in the middle, and the file keeps its length.
            let mut changed = bytes.clone();
            let middle = bytes.len() / 2;
            changed[middle..middle + 2].copy_from_slice(&[0xff, 0xc7]);
            let error = decoded(&changed).unwrap_err();
            assert!(error.to_string().contains(&name[..4]), "{name}: {error}");
        }
    }

    #[test]
    fn a_header_that_is_not_accepted_ends_the_decoding() {
        let bytes = stored("baseline.jpg");
        let reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format().unwrap();
        let error = decode(reader, 1 << 30, |header| bail!("{} x {}, {} bits", header.width, header.height, header.bits)).unwrap_err();
        assert!(error.to_string().contains("96 x 80, 8 bits"), "{error}");
        let reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format().unwrap();
        assert!(decode(reader, 1000, |_| Ok(())).unwrap_err().to_string().contains("1000"));
    }
}

//! Reader of PNG, JPEG and plain TIFF files, as slides of one level in memory.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;
use std::sync::Arc;

use image::{DynamicImage, ImageFormat, ImageReader};
use support::picture::{self, Header};
use support::{Result, bail};

use super::{Contents, Facts, Image, Rgb, Slide};

/// Maximum number of decoded bytes of an image in memory.
const MAX_BYTES: u64 = 2 << 30;
/// Number of decoded bytes that a file of any size may have.
const ALWAYS_ALLOWED_BYTES: u64 = 64 << 20;
/// Maximum number of decoded bytes per byte of a larger file: microscope images reach 30, decompression bombs 1,000.
const MAX_COMPRESSION: u64 = 250;

/// Opens a PNG or JPEG file, whose scale is unknown.
pub fn open(path: &Path, file: File, contents: Arc<Contents>) -> Result<Box<dyn Slide>> {
    decode(file, None, Facts::new(path, contents, "image", Vec::new()))
}

/// Opens a TIFF file of one image; `facts` are those of its directory.
pub fn open_tiff(file: File, facts: Facts) -> Result<Box<dyn Slide>> {
    // The format is named because the crate `image` does not recognise BigTIFF by its first bytes.
    decode(file, Some(ImageFormat::Tiff), facts)
}

/// Decodes a file to a slide of one level.
fn decode(file: File, format: Option<ImageFormat>, facts: Facts) -> Result<Box<dyn Slide>> {
    let (picture, note) = read(file, format)?;
    let pixels = to_rgb(picture);
    let mut facts = Facts { reader: "image", ..facts };
    facts.notes.extend(note);
    Ok(Box::new(Image::with_facts(facts, pixels)))
}

/// Returns the whole image, and a note about the conversion if its samples are not 8-bit.
fn read(mut file: File, format: Option<ImageFormat>) -> Result<(DynamicImage, Option<String>)> {
    file.rewind()?;
    let file_bytes = file.metadata()?.len();
    let reader = match format {
        Some(format) => ImageReader::with_format(BufReader::new(file), format),
        None => ImageReader::new(BufReader::new(file)).with_guessed_format()?,
    };
    let mut bits = 8;
    let picture = picture::decode(reader, MAX_BYTES, |header| {
        bits = header.bits;
        check_size(header, file_bytes)
    })?;
    let note = match bits {
        16 => Some("16-bit samples were divided by 257".to_owned()),
        32 => Some("float samples were taken as 0 to 1".to_owned()),
        _ => None,
    };
    Ok((picture, note))
}

/// Checks the number of decoded bytes before memory is allocated.
fn check_size(&Header { width, height, bytes, .. }: &Header, file_bytes: u64) -> Result<()> {
    if width == 0 || height == 0 {
        bail!("the image has {width} x {height} px");
    }
    if bytes > MAX_BYTES || bytes > ALWAYS_ALLOWED_BYTES.max(file_bytes.saturating_mul(MAX_COMPRESSION)) {
        bail!("{width} x {height} px would take {bytes} bytes of memory, which a file of {file_bytes} bytes does not justify; expected at most {MAX_BYTES} and {MAX_COMPRESSION} to a byte of the file"; hint: "is the file damaged? large images are read tile by tile: save this one as a tiled TIFF (vips tiffsave --tile --pyramid)");
    }
    Ok(())
}

/// Converts to 8-bit RGB: 16-bit samples are divided by 257, grey is repeated, and transparent pixels are composited over white.
fn to_rgb(picture: DynamicImage) -> Rgb {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let over_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let data = match picture {
        DynamicImage::ImageRgb8(pixels) => pixels.into_raw(),
        DynamicImage::ImageLuma8(pixels) => pixels.into_raw().into_iter().flat_map(|v| [v; 3]).collect(),
        DynamicImage::ImageLuma16(pixels) => pixels.into_raw().into_iter().flat_map(|v| [to_8_bits(v); 3]).collect(),
        DynamicImage::ImageRgb16(pixels) => pixels.into_raw().into_iter().map(to_8_bits).collect(),
        DynamicImage::ImageRgba16(pixels) => {
            let pixels = pixels.into_raw();
            let bytes = pixels.chunks_exact(4).map(|p| [to_8_bits(p[0]), to_8_bits(p[1]), to_8_bits(p[2]), to_8_bits(p[3])]);
            bytes.flat_map(|[r, g, b, a]| [over_white(r, a), over_white(g, a), over_white(b, a)]).collect()
        }
        other => {
            let pixels = other.into_rgba8().into_raw();
            pixels.chunks_exact(4).flat_map(|p| [over_white(p[0], p[3]), over_white(p[1], p[3]), over_white(p[2], p[3])]).collect()
        }
    };
    Rgb { width, height, data }
}

/// Returns `round(v / 257)`: 0 stays 0 and 65535 becomes 255.
fn to_8_bits(value: u16) -> u8 {
    ((u32::from(value) + 128) / 257) as u8
}

#[cfg(test)]
mod tests {
    use image::{GrayAlphaImage, ImageBuffer, Luma, Rgba, RgbaImage};

    use super::*;
    use crate::WHITE;

    fn saved(picture: &DynamicImage, name: &str) -> (Rgb, Facts) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        picture.save(&path).unwrap();
        let slide = crate::open(&path, None).unwrap();
        let size = slide.levels()[0];
        (slide.read_region(0, 0, 0, size.width as usize, size.height as usize).unwrap(), slide.facts().clone())
    }

    #[test]
    fn sixteen_bits_alpha_and_grey_are_converted_to_8_bit_rgb_over_white() {
        let deep = ImageBuffer::from_fn(3, 1, |x, _| Luma([[0u16, 65535, 257 * 100][x as usize]]));
        for name in ["a.png", "a.tif"] {
            let (pixels, facts) = saved(&DynamicImage::ImageLuma16(deep.clone()), name);
            assert_eq!(pixels.data, [0, 0, 0, 255, 255, 255, 100, 100, 100], "{name}");
            assert!(facts.notes[0].contains("257") && facts.mpp.is_none(), "{name}");
        }
        let glass = RgbaImage::from_fn(2, 1, |x, _| Rgba([200, 0, 100, [0, 255][x as usize]]));
        assert_eq!(saved(&DynamicImage::ImageRgba8(glass), "a.png").0.data, [255, 255, 255, 200, 0, 100]);
        let half = GrayAlphaImage::from_pixel(1, 1, image::LumaA([0, 128]));
        assert_eq!(saved(&DynamicImage::ImageLumaA8(half), "a.png").0.data, [127; 3]);
    }

    #[test]
    fn pixels_outside_the_image_are_white() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 255])).save(&path).unwrap();
        let slide = crate::open(&path, None).unwrap();
        let region = slide.read_region(0, -1, 1, 4, 2).unwrap();
        assert_eq!((region.at(0, 0), region.at(1, 0), region.at(2, 0), region.at(3, 0)), (WHITE, [1, 2, 3], [1, 2, 3], WHITE));
        assert_eq!(region.at(1, 1), WHITE);
    }

    #[test]
    fn a_huge_header_is_refused_before_memory_is_allocated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.png");
        RgbaImage::from_pixel(1, 1, Rgba([0; 4])).save(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let crc = crc(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.to_be_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = crate::open(&path, None).err().expect("60,000 x 60,000 px must be refused").to_string();
        assert!(error.contains("60000 x 60000"), "{error}");
    }

    #[test]
    fn a_truncated_picture_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["baseline.jpg", "progressive.jpg", "restarts.jpg", "grey.jpg", "interval_300.jpg", "strips.tif"] {
            let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/pictures").join(name)).unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            crate::open(&path, None).unwrap();
            for percent in [99, 95, 70, 50, 30, 10] {
                std::fs::write(&path, &bytes[..bytes.len() * percent / 100]).unwrap();
                let error = crate::open(&path, None).err().unwrap_or_else(|| panic!("{percent} % of {name} were taken"));
                let text = error.to_string();
                assert!(text.contains(name) && text.contains("end of the file") && text.contains("expected"), "{percent} %: {error:?}");
                assert!(error.hint_text().is_some_and(|hint| hint.contains("cut short")), "{percent} %: {error:?}");
            }
        }
    }

    /// Computes the CRC-32 of ISO 3309, which PNG chunks end with.
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}

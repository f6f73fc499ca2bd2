//! Reader of PNG, JPEG and plain TIFF files, as slides of one level in memory.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use support::picture::tiff::BoundedFile;
use support::picture::{self, Header, Picture};
use support::{Context, Result, bail};

use super::tiff::Plain;
use super::{Contents, Facts, Image, Rgb, Slide};

/// Maximum number of decoded bytes of an image in memory.
const MAX_BYTES: u64 = 2 << 30;
/// Number of decoded bytes that a file of any size may have.
const ALWAYS_ALLOWED_BYTES: u64 = 64 << 20;
/// Maximum number of decoded bytes per byte of a larger file: microscope images reach 30, decompression bombs 1,000.
const MAX_COMPRESSION: u64 = 250;

/// Opens a PNG or JPEG file, whose scale is unknown.
pub fn open(path: &Path, file: File, contents: Arc<Contents>, channel: Option<&str>) -> Result<Box<dyn Slide>> {
    let file = BoundedFile::new(file)?;
    let picture = picture::read(&file, MAX_BYTES, channel, |header| check_size(header, file.length()))?;
    Ok(slide(Facts::new(path, contents, "image", Vec::new()), picture))
}

/// Decodes an image of a TIFF file.
pub fn open_tiff(Plain { facts, file, layout, selection }: Plain) -> Result<Box<dyn Slide>> {
    let bits = layout.format.bits as u16;
    let bytes = layout.width * layout.height * 3;
    check_size(&Header { width: layout.width as u32, height: layout.height as u32, bytes, bits }, file.length())?;
    let picture = picture::rgb::of_layout(&layout, &file, &selection).hint(|| picture::DAMAGED)?;
    Ok(slide(facts, picture))
}

/// Returns a slide of one level.
fn slide(facts: Facts, picture: Picture) -> Box<dyn Slide> {
    let Picture { width, height, data, notes, .. } = picture;
    Box::new(Image::with_facts(Facts { reader: "image", notes, ..facts }, Rgb { width, height, data }))
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

#[cfg(test)]
mod tests {
    use image::{DynamicImage, GrayAlphaImage, ImageBuffer, Luma, Rgba, RgbaImage};

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

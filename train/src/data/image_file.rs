//! Reading of image files: colour images as RGB u8, index maps with the integer values of the file.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat, ImageReader};
use models::plane::Plane;
use support::{Context, Result, bail, durable, picture};

use super::tiff_index;

/// Size limit of an image file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// Size limit of an image, in pixels; training images are fields of view, not whole slides.
pub const MAX_PIXELS: u64 = 1 << 28;
/// Supported file name extensions.
pub const EXTENSIONS: [&str; 5] = ["png", "tif", "tiff", "jpg", "jpeg"];

/// Colour image, `height width 3` u8, red first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `3 * width * height` values in row-major order, the channels interleaved.
    pub data: Vec<u8>,
}

impl RgbImage {
    /// Creates an image from `3 * width * height` values.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Result<Self> {
        if data.len() != 3 * width * height {
            bail!("an RGB image of {width} x {height} needs {} values, found {}", 3 * width * height, data.len());
        }
        Ok(Self { width, height, data })
    }

    /// Returns the pixel at column `x` of row `y`.
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let i = 3 * (y * self.width + x);
        [self.data[i], self.data[i + 1], self.data[i + 2]]
    }

    /// Returns `width x height` as text for messages.
    pub fn size(&self) -> String {
        format!("{} x {}", self.width, self.height)
    }
}

/// Pixel format of a file before its conversion to RGB u8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stored {
    /// Number of channels: 1 grey, 2 grey and alpha, 3 colour, 4 colour and alpha.
    pub channels: u8,
    /// Bits per channel.
    pub bits: u16,
}

/// Reads any PNG, TIFF or JPEG as RGB u8: grey is replicated, alpha dropped, palettes looked up, 16 bits divided by 257 and rounded.
pub fn read_rgb(path: &Path) -> Result<(RgbImage, Stored)> {
    let image = decode(path)?;
    let colour = image.color();
    let channels = colour.channel_count();
    let stored = Stored { channels, bits: colour.bits_per_pixel() / u16::from(channels) };
    if stored.bits == 32 {
        bail!("reading {}: expected whole numbers of 8 or 16 bits, found floating-point values", path.display(); hint: "save the image with 8 or 16 bits per channel");
    }
    let rgb = image.into_rgb8();
    Ok((RgbImage { width: rgb.width() as usize, height: rgb.height() as usize, data: rgb.into_raw() }, stored))
}

/// Reads a single-channel index map of 8 or 16 bits (TIFF: up to 64) without scaling its values.
///
/// A colour file is accepted if red, green and blue are equal and no pixel is transparent.
pub fn read_index(path: &Path) -> Result<Plane<u32>> {
    let doing = || format!("reading {}", path.display());
    let bytes = durable::read(path, MAX_FILE_BYTES)?;
    if tiff_index::is_tiff(&bytes)
        && let Some(map) = tiff_index::read(&bytes).doing(doing).hint(|| DAMAGED)?
    {
        return Ok(map);
    }
    let image = decode_bytes(&bytes).doing(doing).hint(|| DAMAGED)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let data = match image {
        DynamicImage::ImageLuma8(map) => map.into_raw().into_iter().map(u32::from).collect(),
        DynamicImage::ImageLuma16(map) => map.into_raw().into_iter().map(u32::from).collect(),
        other if other.color().has_color() || other.color().has_alpha() => {
            grey_of_colour(&other).doing(|| format!("reading {}", path.display()))?
        }
        other => bail!("reading {}: expected an index map of 8 or 16 bits, found {:?}", path.display(), other.color()),
    };
    Plane::new(width, height, data)
}

fn grey_of_colour(image: &DynamicImage) -> Result<Vec<u32>> {
    let rgba = image.to_rgba16();
    let scale = if image.color().bits_per_pixel() / u16::from(image.color().channel_count()) == 16 { 1 } else { 257 };
    let unequal = rgba.pixels().position(|p| p.0[0] != p.0[1] || p.0[1] != p.0[2] || p.0[3] != u16::MAX);
    if let Some(i) = unequal {
        let (x, y) = (i % image.width() as usize, i / image.width() as usize);
        bail!("expected an index map with one channel, found colour or transparency, first at column {x}, row {y}"; hint: "save the map as 8- or 16-bit greyscale whose values are the classes, not as a picture in colours");
    }
    Ok(rgba.pixels().map(|p| u32::from(p.0[0]) / scale).collect())
}

/// Reads width and height from the header of an image file.
pub fn dimensions(path: &Path) -> Result<(usize, usize)> {
    let doing = || format!("reading {}", path.display());
    let reader = picture::open(path).doing(doing)?;
    let (width, height) = reader.into_dimensions().doing(doing)?;
    Ok((width as usize, height as usize))
}

fn decode(path: &Path) -> Result<DynamicImage> {
    let doing = || format!("reading {}", path.display());
    let bytes = durable::read(path, MAX_FILE_BYTES)?;
    decode_bytes(&bytes).doing(doing).hint(|| DAMAGED)
}

const DAMAGED: &str = "the file is damaged, cut short or not a PNG, TIFF or JPEG image: copy or export it again";

fn decode_bytes(bytes: &[u8]) -> Result<DynamicImage> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    match reader.format() {
        Some(ImageFormat::Png | ImageFormat::Tiff | ImageFormat::Jpeg) => {}
        Some(other) => bail!("expected PNG, TIFF or JPEG, found {other:?}"),
        None => bail!("expected PNG, TIFF or JPEG, found {} bytes of something else", bytes.len()),
    }
    picture::decode(reader, 8 * MAX_PIXELS + (64 << 20), |header| {
        let pixels = u64::from(header.width) * u64::from(header.height);
        if pixels == 0 || pixels > MAX_PIXELS {
            bail!("expected 1 to {MAX_PIXELS} pixels, found {} x {}", header.width, header.height; hint: "cut large images into fields of view; whole slides are for `infer segment`");
        }
        Ok(())
    })
}

/// Encodes an 8-bit map as PNG.
pub fn png_of_map(map: &Plane<u8>) -> Result<Vec<u8>> {
    png(&map.data, map.width, map.height, image::ExtendedColorType::L8)
}

/// Encodes an instance map as PNG, with 8 bits if all ids fit, else with 16; ids above 65535 are an error.
pub fn png_of_labels(labels: &Plane<u32>) -> Result<Vec<u8>> {
    let most = labels.data.iter().copied().max().unwrap_or(0);
    if most > u32::from(u16::MAX) {
        bail!("a PNG holds ids up to 65535, found {most}"; hint: "write the labels as TIFF");
    }
    if most <= 255 {
        return png_of_map(&labels.map(|&id| id as u8));
    }
    let bytes: Vec<u8> = labels.data.iter().flat_map(|&id| (id as u16).to_ne_bytes()).collect();
    png(&bytes, labels.width, labels.height, image::ExtendedColorType::L16)
}

/// Encodes a colour image as PNG.
pub fn png_of_rgb(image: &RgbImage) -> Result<Vec<u8>> {
    png(&image.data, image.width, image.height, image::ExtendedColorType::Rgb8)
}

fn png(data: &[u8], width: usize, height: usize, colour: image::ExtendedColorType) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    image::write_buffer_with_format(&mut Cursor::new(&mut bytes), data, width as u32, height as u32, colour, ImageFormat::Png)
        .doing(|| "encoding PNG")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(name: &str, image: &DynamicImage) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        image.save(&path).unwrap();
        (folder, path)
    }

    #[test]
    fn every_kind_of_picture_becomes_rgb() {
        let grey = DynamicImage::ImageLuma8(image::GrayImage::from_raw(2, 1, vec![7, 200]).unwrap());
        let (_keep, path) = saved("a.png", &grey);
        assert_eq!(read_rgb(&path).unwrap(), (RgbImage::new(2, 1, vec![7, 7, 7, 200, 200, 200]).unwrap(), Stored { channels: 1, bits: 8 }));
        let deep = DynamicImage::ImageLuma16(image::ImageBuffer::from_raw(2, 1, vec![65535, 257]).unwrap());
        let (_keep, path) = saved("a.tif", &deep);
        let (rgb, stored) = read_rgb(&path).unwrap();
        assert_eq!((rgb.data, stored), (vec![255, 255, 255, 1, 1, 1], Stored { channels: 1, bits: 16 }));
        let alpha = DynamicImage::ImageRgba8(image::RgbaImage::from_raw(1, 1, vec![1, 2, 3, 0]).unwrap());
        let (_keep, path) = saved("a.png", &alpha);
        assert_eq!(read_rgb(&path).unwrap().0.data, [1, 2, 3]);
        let colour = DynamicImage::ImageRgb8(image::RgbImage::from_pixel(16, 8, image::Rgb([90, 90, 90])));
        let (_keep, path) = saved("a.jpg", &colour);
        assert_eq!((read_rgb(&path).unwrap().0.size().as_str(), dimensions(&path).unwrap()), ("16 x 8", (16, 8)));
    }

    #[test]
    fn index_maps_keep_their_numbers() {
        let labels = Plane::new(3, 1, vec![0, 255, 300]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.png");
        durable::write(&path, &png_of_labels(&labels).unwrap()).unwrap();
        assert_eq!(read_index(&path).unwrap(), labels);
        let grey = DynamicImage::ImageRgb8(image::RgbImage::from_raw(2, 1, vec![1, 1, 1, 250, 250, 250]).unwrap());
        let (_keep, path) = saved("a.png", &grey);
        assert_eq!(read_index(&path).unwrap().data, [1, 250]);
        let deep = DynamicImage::ImageRgb16(image::ImageBuffer::from_raw(1, 1, vec![300, 300, 300]).unwrap());
        let (_keep, path) = saved("a.png", &deep);
        assert_eq!(read_index(&path).unwrap().data, [300]);
    }

    #[test]
    fn a_coloured_index_map_is_refused_with_the_place() {
        let (_keep, path) = saved("s.png", &DynamicImage::ImageRgb8(image::RgbImage::from_raw(2, 1, vec![1, 1, 1, 255, 0, 0]).unwrap()));
        let error = format!("{:?}", read_index(&path).unwrap_err());
        assert!(error.contains("s.png") && error.contains("column 1, row 0") && error.contains("greyscale"), "{error}");
    }

    #[test]
    fn every_prefix_of_a_file_is_refused_and_named() {
        let noise: Vec<u8> = (0..600u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for name in ["a.png", "a.tif"] {
            let (_keep, path) = saved(name, &DynamicImage::ImageRgb8(image::RgbImage::from_raw(20, 10, noise.clone()).unwrap()));
            let bytes = std::fs::read(&path).unwrap();
            // The last 12 bytes of a PNG are its end mark, after all pixels.
            let end = if name == "a.png" { bytes.len() - 16 } else { bytes.len() };
            for length in 0..end {
                std::fs::write(&path, &bytes[..length]).unwrap();
                let error = read_rgb(&path).expect_err(&format!("{name}: prefix of {length} bytes"));
                assert!(error.to_string().contains(name) && error.hint_text().is_some(), "{error}");
            }
        }
    }

    #[test]
    fn other_formats_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, b"GIF89a....").unwrap();
        assert!(read_rgb(&path).unwrap_err().to_string().contains("Gif"));
        assert!(read_rgb(folder.path()).is_err());
        assert!(read_rgb(&folder.path().join("none.png")).unwrap_err().to_string().contains("none.png"));
    }
}

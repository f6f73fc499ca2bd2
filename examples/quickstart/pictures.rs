//! Pictures of strokes, detected nuclei and ground truth.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage, imageops};
use models::plane::Plane;
use support::{Context, Result, durable};
use train::data::RgbImage as Pixels;

/// Colour of strokes on nuclei and of outlines that were found.
pub const NUCLEUS: Rgb<u8> = Rgb([255, 205, 0]);
/// Colour of strokes through background.
pub const BACKGROUND: Rgb<u8> = Rgb([0, 170, 220]);
/// Colour of outlines of the ground truth.
pub const TRUTH: Rgb<u8> = Rgb([60, 220, 60]);

/// Magnification of the pictures, so that a stroke of two pixels is visible.
const ZOOM: u32 = 2;
const GAP: u32 = 8;

/// Enlarges the image.
pub fn plain(image: &Pixels) -> RgbImage {
    let (width, height) = (image.width as u32, image.height as u32);
    let picture = RgbImage::from_raw(width, height, image.data.clone()).expect("three bytes a pixel");
    imageops::resize(&picture, width * ZOOM, height * ZOOM, imageops::FilterType::CatmullRom)
}

/// Draws scribbles over the enlarged image: 0 is background, 1 nucleus, other values are not drawn.
pub fn with_scribbles(image: &Pixels, scribbles: &Plane<u8>) -> RgbImage {
    let mut picture = plain(image);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        match scribbles.at((x / ZOOM) as usize, (y / ZOOM) as usize) {
            0 => *pixel = BACKGROUND,
            1 => *pixel = NUCLEUS,
            _ => {}
        }
    }
    picture
}

/// Draws the outlines of instances over the enlarged image.
pub fn with_outlines(image: &Pixels, instances: &Plane<u32>, colour: Rgb<u8>) -> RgbImage {
    let mut picture = plain(image);
    let id = |x: u32, y: u32| instances.at((x / ZOOM) as usize, (y / ZOOM) as usize);
    let (width, height) = picture.dimensions();
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let here = id(x, y);
        let differs = |nx: u32, ny: u32| nx < width && ny < height && id(nx, ny) != here;
        let left_or_above = (x > 0 && id(x - 1, y) != here) || (y > 0 && id(x, y - 1) != here);
        if here > 0 && (left_or_above || differs(x + 1, y) || differs(x, y + 1)) {
            *pixel = colour;
        }
    }
    picture
}

/// Writes pictures of equal height side by side as a PNG.
pub fn write_row(path: &Path, pictures: &[RgbImage]) -> Result<()> {
    let width = pictures.iter().map(|picture| picture.width() + GAP).sum::<u32>() - GAP;
    let height = pictures.iter().map(RgbImage::height).max().expect("there is a picture");
    let mut row = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    let mut x = 0;
    for picture in pictures {
        imageops::replace(&mut row, picture, i64::from(x), 0);
        x += picture.width() + GAP;
    }
    let mut png = Cursor::new(Vec::new());
    row.write_to(&mut png, ImageFormat::Png).doing(|| format!("encoding {}", path.display()))?;
    durable::write(path, png.get_ref())
}

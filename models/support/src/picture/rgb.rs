//! Pictures as upright 8-bit RGB, by one set of rules for training images and slides.

use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, ImageReader, RgbImage};

use super::tiff::format::Alpha;
use super::tiff::samples::over_white;
use super::tiff::{BoundedFile, Directory, Layout, Selection, whole};
use super::{DAMAGED, Header, jpeg, with_image};
use crate::{Context, Result, bail};

/// Picture as upright 8-bit RGB.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values in row-major order, red first.
    pub data: Vec<u8>,
    /// Samples per pixel in the file.
    pub channels: u8,
    /// Bits per sample in the file.
    pub bits: u16,
    /// Notes for the user: conversions of samples, and images and channels that were not read.
    pub notes: Vec<String>,
}

/// Reads a PNG, JPEG or TIFF file, using at most `max_bytes` for decoded pixels.
///
/// Grey is repeated, palettes are looked up, transparent pixels are composited over white, 16-bit samples divided by 257, and the picture
/// is turned as the orientation tag says. `channel` is a number from 1 or a name, for TIFF files of several channels. `accept` is called
/// with the header before memory is allocated, and can refuse the picture.
///
/// # Errors
/// A truncated or damaged file, or a format that is not read.
pub fn read(file: &BoundedFile, max_bytes: u64, channel: Option<&str>, accept: impl FnOnce(&Header) -> Result<()>) -> Result<Picture> {
    let head = file.read(0, file.length().min(8))?;
    match head.as_slice() {
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => read_tiff(file, channel, accept).hint(|| DAMAGED),
        _ if channel.is_some_and(|channel| channel.trim() != "1") => {
            bail!("channel {:?} of a PNG or JPEG picture, which has one image", channel.unwrap_or_default(); hint: "leave the channel out, or give a TIFF file with one page per channel")
        }
        [0xff, 0xd8, 0xff, ..] => {
            let bytes = whole_file(file, max_bytes)?;
            let (picture, orientation) = jpeg::decode_oriented(&bytes, max_bytes, accept)?;
            Ok(upright(picture, orientation, 8))
        }
        _ => {
            let bytes = whole_file(file, max_bytes)?;
            match ImageReader::new(std::io::Cursor::new(&bytes)).with_guessed_format()?.format() {
                Some(ImageFormat::Png) => {}
                Some(other) => bail!("expected PNG, TIFF or JPEG, found {other:?}"),
                None => bail!("expected PNG, TIFF or JPEG, found {} bytes of something else", bytes.len()),
            }
            let mut bits = 8;
            let note_bits = |header: &Header| {
                bits = header.bits;
                accept(header)
            };
            let (picture, orientation) =
                with_image(std::io::Cursor::new(&bytes), ImageFormat::Png, max_bytes, note_bits).hint(|| DAMAGED)?;
            Ok(upright(picture, orientation, bits))
        }
    }
}

/// Reads a file that is decoded as a whole.
///
/// # Errors
/// A file of more bytes than any picture of `max_bytes` has in these formats.
fn whole_file(file: &BoundedFile, max_bytes: u64) -> Result<Vec<u8>> {
    let limit = max_bytes.saturating_mul(2).saturating_add(64 << 20);
    if file.length() > limit {
        bail!("the file has {} bytes, more than the {limit} that are allowed", file.length(); hint: "save the picture as a tiled TIFF");
    }
    file.read(0, file.length())
}

fn read_tiff(file: &BoundedFile, channel: Option<&str>, accept: impl FnOnce(&Header) -> Result<()>) -> Result<Picture> {
    let directories = Directory::chain(file)?;
    let selection = Selection::of(&directories, file, channel)?;
    let directory = &directories[selection.directory];
    directory.check_counts()?;
    let mut layout = Layout::read(directory, file)?;
    layout.format.white = selection.white.filter(|_| layout.format.white == u16::MAX).unwrap_or(layout.format.white);
    let header = Header {
        width: layout.width as u32,
        height: layout.height as u32,
        bytes: layout.width * layout.height * 3,
        bits: layout.format.bits as u16,
    };
    accept(&header)?;
    of_layout(&layout, file, &selection)
}

/// Decodes a TIFF image whose layout is known.
///
/// # Errors
/// A damaged or missing tile or strip.
pub fn of_layout(layout: &Layout, file: &BoundedFile, selection: &Selection) -> Result<Picture> {
    let whole::Whole { data, notes } = whole::read(layout, file, selection.sample)?;
    let pixels = RgbImage::from_raw(layout.width as u32, layout.height as u32, data).expect("three values per pixel");
    let orientation = Orientation::from_exif(layout.orientation).unwrap_or(Orientation::NoTransforms);
    let picture = upright(DynamicImage::ImageRgb8(pixels), orientation, layout.format.bits as u16);
    let notes = picture.notes.into_iter().filter(|note| note.contains("turned")).chain(selection.notes.iter().cloned()).chain(notes);
    Ok(Picture { channels: layout.format.samples as u8, notes: notes.collect(), ..picture })
}

/// Converts a decoded picture; `bits` are those of a sample in the file.
fn upright(mut picture: DynamicImage, orientation: Orientation, bits: u16) -> Picture {
    picture.apply_orientation(orientation);
    let channels = picture.color().channel_count();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut notes = Vec::new();
    if orientation != Orientation::NoTransforms {
        notes.push(format!("the picture was turned upright, as its orientation tag {} says", orientation.to_exif()));
    }
    if bits == 16 {
        notes.push(whole::deep_note(u16::MAX, brightest(&picture)));
    }
    Picture { width, height, data: to_rgb(picture), channels, bits, notes }
}

fn brightest(picture: &DynamicImage) -> Option<f32> {
    let most = match picture {
        DynamicImage::ImageLuma16(pixels) => pixels.iter().max(),
        DynamicImage::ImageRgb16(pixels) => pixels.iter().max(),
        _ => None,
    };
    most.map(|&value| f32::from(value))
}

/// Converts to 8-bit RGB: 16-bit samples are divided by 257, grey is repeated, and transparent pixels are composited over white.
fn to_rgb(picture: DynamicImage) -> Vec<u8> {
    if !picture.color().has_alpha() {
        return picture.into_rgb8().into_raw();
    }
    let pixels = picture.into_rgba8().into_raw();
    pixels.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]].map(|value| over_white(value, p[3], Alpha::Unassociated))).collect()
}

//! Storage format of an image: compression, colour and samples.

use super::compression::Compression;
use super::directory::Directory;
use super::file::BoundedFile;
use super::tag;
use crate::{Result, bail};

/// Maximum number of samples per pixel.
const MAX_SAMPLES: u64 = 64;
/// Hint of errors about formats that are not read.
const SAVE_AS_RGB: &str = "save the image as 8-bit RGB or grey (ImageJ: Image > Type)";

/// Storage format of the tiles or strips of an image.
#[derive(Clone, Debug)]
pub struct Format {
    /// Compression of the bytes.
    pub compression: Compression,
    /// Meaning of the samples.
    pub colour: Colour,
    /// Bits per sample: 1, 2, 4, 8 or 16; 32 or 64 for floats.
    pub bits: u32,
    /// True if samples are floating-point numbers.
    pub is_float: bool,
    /// Samples per pixel, alpha and unused samples included.
    pub samples: usize,
    /// True if each sample has tiles or strips of its own (`PlanarConfiguration` 2).
    pub is_planar: bool,
    /// Differences that are stored in place of samples.
    pub predictor: Predictor,
    /// True if samples begin with their most significant byte.
    pub is_big_endian: bool,
    /// Transparency, which follows the samples of the colour.
    pub alpha: Option<Alpha>,
    /// Colours of a palette image.
    pub palette: Vec<[u8; 3]>,
    /// 16-bit sample value that becomes 255.
    pub white: u16,
    /// Quantisation and Huffman tables that all JPEG parts have in common.
    pub jpeg_tables: Option<Vec<u8>>,
}

/// Meaning of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Grey, 0 is white.
    WhiteIsZero,
    /// Grey, 0 is black.
    BlackIsZero,
    /// Red, green, blue.
    Rgb,
    /// Index into a palette.
    Palette,
    /// Luma and two chroma samples; only in JPEG parts.
    YCbCr,
}

/// Differences that are stored in place of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predictor {
    /// Samples are stored.
    None,
    /// Differences to the left pixel (TIFF 6.0, section 14).
    Horizontal,
    /// Differences of the bytes of floats (TIFF Technical Note 3).
    Float,
}

/// Kind of transparency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpha {
    /// Colours are multiplied by alpha already.
    Associated,
    /// Colours are independent of alpha.
    Unassociated,
}

impl Colour {
    /// Returns the meaning of a value of the field `PhotometricInterpretation`.
    fn from_tag(value: u64) -> Result<Self> {
        Ok(match value {
            0 => Self::WhiteIsZero,
            1 => Self::BlackIsZero,
            2 => Self::Rgb,
            3 => Self::Palette,
            5 => bail!("expected grey, RGB or palette colours, found CMYK"; hint: "convert the image to RGB"),
            6 => Self::YCbCr,
            8..=10 => bail!("expected grey, RGB or palette colours, found CIE L*a*b*"; hint: "convert the image to RGB"),
            _ => bail!("expected grey, RGB or palette colours, found photometric interpretation {value}"; hint: "{SAVE_AS_RGB}"),
        })
    }

    /// Returns the number of samples per pixel, without alpha.
    pub fn samples(self) -> usize {
        match self {
            Self::WhiteIsZero | Self::BlackIsZero | Self::Palette => 1,
            Self::Rgb | Self::YCbCr => 3,
        }
    }
}

impl Format {
    /// Reads the storage format of an image.
    ///
    /// # Errors
    /// A format that is not read; the error says what was found and what to save instead.
    pub fn read(directory: &Directory, file: &BoundedFile) -> Result<Self> {
        let code = directory.number(tag::COMPRESSION, 1, file)?;
        let Some(compression) = Compression::from_tag(code) else {
            bail!("compression {code} is not supported: expected none, LZW, JPEG, deflate, PackBits or zstd"; hint: "save the image uncompressed or with LZW or deflate");
        };
        let colour = Colour::from_tag(directory.number(tag::PHOTOMETRIC, 1, file)?)?;
        let samples = directory.number(tag::SAMPLES_PER_PIXEL, 1, file)?;
        if samples < colour.samples() as u64 || samples > MAX_SAMPLES {
            bail!("{samples} samples per pixel, expected {} to {MAX_SAMPLES} for {colour:?} colours", colour.samples());
        }
        let (bits, is_float) = bits_and_kind(directory, file)?;
        let format = Self {
            compression,
            colour,
            bits,
            is_float,
            samples: samples as usize,
            is_planar: samples > 1 && directory.number(tag::PLANAR_CONFIGURATION, 1, file)? == 2,
            predictor: predictor(directory, file, compression, bits, is_float)?,
            is_big_endian: directory.is_big_endian(),
            alpha: alpha(directory, file, samples as usize - colour.samples())?,
            palette: if colour == Colour::Palette { palette(directory, file, bits)? } else { Vec::new() },
            white: white(directory, file)?,
            jpeg_tables: directory.raw(tag::JPEG_TABLES, file)?,
        };
        format.check()?;
        Ok(format)
    }

    /// Checks combinations of colour, compression and samples.
    fn check(&self) -> Result<()> {
        if self.colour == Colour::YCbCr && self.compression != Compression::Jpeg {
            bail!("YCbCr colours outside of JPEG compression are not read"; hint: "{SAVE_AS_RGB}");
        }
        if self.compression == Compression::Jpeg {
            if self.bits != 8 || self.is_float {
                bail!("JPEG compression of {} bits per sample, expected 8", self.bits; hint: "{SAVE_AS_RGB}");
            }
            if self.samples != self.colour.samples() || self.colour == Colour::Palette {
                bail!("JPEG compression of {} samples per pixel as {:?} colours is not read", self.samples, self.colour; hint: "{SAVE_AS_RGB}");
            }
            if self.is_planar && self.colour == Colour::YCbCr {
                bail!("JPEG compression of YCbCr colours in separate planes is not read"; hint: "{SAVE_AS_RGB}");
            }
        }
        Ok(())
    }

    /// Returns the samples per pixel of one tile or strip: 1 in separate planes.
    pub fn samples_in_part(&self) -> usize {
        if self.is_planar { 1 } else { self.samples }
    }

    /// Returns the decompressed bytes of a row of `width` pixels in one tile or strip.
    pub fn row_bytes(&self, width: usize) -> usize {
        (width * self.samples_in_part() * self.bits as usize).div_ceil(8)
    }
}

/// Returns the bits per sample, and whether samples are floats.
fn bits_and_kind(directory: &Directory, file: &BoundedFile) -> Result<(u32, bool)> {
    let all = directory.values(tag::BITS_PER_SAMPLE, MAX_SAMPLES, file)?.unwrap_or_else(|| vec![1]);
    let bits = all.first().copied().unwrap_or(1);
    if all.iter().any(|&other| other != bits) {
        bail!("samples of different sizes ({all:?} bits)"; hint: "{SAVE_AS_RGB}");
    }
    let kinds = directory.values(tag::SAMPLE_FORMAT, MAX_SAMPLES, file)?.unwrap_or_else(|| vec![1]);
    let is_float = match kinds.first().copied().unwrap_or(1) {
        1 => false,
        3 => true,
        2 => bail!("expected unsigned samples or floats, found signed integers of {bits} bits"; hint: "{SAVE_AS_RGB}"),
        kind => bail!("expected unsigned samples or floats, found sample format {kind} of {bits} bits"; hint: "{SAVE_AS_RGB}"),
    };
    match (bits, is_float) {
        (1 | 2 | 4 | 8 | 16, false) | (32 | 64, true) => Ok((bits as u32, is_float)),
        (_, true) => bail!("expected floats of 32 or 64 bits, found {bits} bits"; hint: "{SAVE_AS_RGB}"),
        _ => {
            bail!("expected unsigned samples of 8 or 16 bits, found {bits} bits"; hint: "scale the values to 8 or 16 bits and save again (ImageJ: Image > Type > 8-bit)")
        }
    }
}

fn predictor(directory: &Directory, file: &BoundedFile, compression: Compression, bits: u32, is_float: bool) -> Result<Predictor> {
    let compresses = matches!(compression, Compression::Lzw | Compression::Deflate | Compression::Zstd);
    Ok(match directory.number(tag::PREDICTOR, 1, file)? {
        _ if !compresses => Predictor::None,
        1 => Predictor::None,
        2 if bits >= 8 => Predictor::Horizontal,
        3 if is_float => Predictor::Float,
        code => {
            bail!("predictor {code} of samples of {bits} bits is not read"; hint: "save the image uncompressed, or with LZW or deflate without a predictor")
        }
    })
}

/// Returns the transparency of the first of `extra` additional samples.
fn alpha(directory: &Directory, file: &BoundedFile, extra: usize) -> Result<Option<Alpha>> {
    let kinds = directory.values(tag::EXTRA_SAMPLES, MAX_SAMPLES, file)?.unwrap_or_default();
    Ok(match kinds.first() {
        _ if extra == 0 => None,
        Some(1) => Some(Alpha::Associated),
        Some(2) => Some(Alpha::Unassociated),
        _ => None,
    })
}

fn palette(directory: &Directory, file: &BoundedFile, bits: u32) -> Result<Vec<[u8; 3]>> {
    if bits > 8 {
        bail!("a palette of {bits} bits per index, expected at most 8"; hint: "{SAVE_AS_RGB}");
    }
    let size = 1usize << bits;
    let values = directory.list(tag::COLOR_MAP, 3 * size as u64, file)?;
    // Some writers store 8-bit values in the 16-bit fields.
    let shift = if values.iter().any(|&value| value > 255) { 8 } else { 0 };
    let at = |i: usize| (values[i] >> shift) as u8;
    Ok((0..size).map(|i| [at(i), at(size + i), at(2 * size + i)]).collect())
}

/// Returns the 16-bit value that becomes 255: 65535 unless the field `MaxSampleValue` names a smaller power of two minus 1.
fn white(directory: &Directory, file: &BoundedFile) -> Result<u16> {
    let named = directory.values(tag::MAX_SAMPLE_VALUE, 1, file)?.and_then(|values| values.first().copied());
    Ok(match named {
        Some(value @ (1023 | 4095 | 16383)) => value as u16,
        _ => u16::MAX,
    })
}

//! Index maps in TIFF with integers of 8 to 64 bits; napari and scikit-image write 32 and 64 bits.

use std::io::Cursor;

use models::plane::Plane;
use support::{Context, Result, bail, picture};
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};

use super::image_file::MAX_PIXELS;

/// Reports whether the bytes start with the signature of TIFF or `BigTIFF`.
pub(super) fn is_tiff(bytes: &[u8]) -> bool {
    [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|signature| bytes.starts_with(*signature))
}

/// Reads the values of a single-channel TIFF; returns `None` for several channels or fewer than 8 bits, which the image decoder handles.
///
/// # Errors
/// A damaged file, floating-point values, or a value outside the range of u32.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Plane<u32>>> {
    picture::check_tiff(&mut Cursor::new(bytes))?;
    let mut decoder = Decoder::new(Cursor::new(bytes))?;
    let (width, height) = decoder.dimensions()?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        bail!("expected at most {MAX_PIXELS} pixels, found {width} x {height}");
    }
    let ColorType::Gray(bits) = decoder.colortype()? else { return Ok(None) };
    let mut limits = Limits::default();
    limits.decoding_buffer_size = 8 * MAX_PIXELS as usize;
    let mut decoder = decoder.with_limits(limits);
    let data = match decoder.read_image()? {
        // Values of fewer than 8 bits are packed here, while the image decoder unpacks them.
        _ if bits < 8 => return Ok(None),
        DecodingResult::U8(values) => integers(values),
        DecodingResult::U16(values) => integers(values),
        DecodingResult::U32(values) => integers(values),
        DecodingResult::U64(values) => integers(values),
        DecodingResult::I8(values) => integers(values),
        DecodingResult::I16(values) => integers(values),
        DecodingResult::I32(values) => integers(values),
        DecodingResult::I64(values) => integers(values),
        _ => bail!("expected whole numbers, found floating-point values"; hint: "save the labels as integers"),
    };
    Plane::new(width as usize, height as usize, data.doing(|| "reading an index map")?).map(Some)
}

/// Converts values to u32.
fn integers<T: Copy + std::fmt::Display + TryInto<u32>>(values: Vec<T>) -> Result<Vec<u32>> {
    let convert = |value: T| match value.try_into() {
        Ok(value) => Ok(value),
        Err(_) => bail!("expected numbers from 0 to {}, found {value}", u32::MAX),
    };
    values.into_iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiff::encoder::{TiffEncoder, colortype};

    fn written<C: colortype::ColorType>(values: &[C::Inner]) -> Vec<u8>
    where
        [C::Inner]: tiff::encoder::TiffValue,
    {
        let mut bytes = Cursor::new(Vec::new());
        TiffEncoder::new(&mut bytes).unwrap().write_image::<C>(values.len() as u32, 1, values).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn integers_of_every_width_are_read() {
        for bytes in [
            written::<colortype::Gray8>(&[0, 1, 250]),
            written::<colortype::Gray16>(&[0, 1, 250]),
            written::<colortype::Gray32>(&[0, 1, 250]),
            written::<colortype::Gray64>(&[0, 1, 250]),
            written::<colortype::GrayI32>(&[0, 1, 250]),
        ] {
            assert!(is_tiff(&bytes));
            assert_eq!(read(&bytes).unwrap().unwrap().data, [0, 1, 250]);
        }
        assert_eq!(read(&written::<colortype::Gray32>(&[4_000_000_000])).unwrap().unwrap().data, [4_000_000_000]);
    }

    #[test]
    fn negative_and_fractional_values_are_errors() {
        assert!(read(&written::<colortype::GrayI32>(&[0, -1])).unwrap_err().to_string().contains("found -1"));
        assert!(read(&written::<colortype::Gray32Float>(&[0.5])).unwrap_err().to_string().contains("floating-point"));
    }
}

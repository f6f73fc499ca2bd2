//! Index maps as TIFF with whole numbers of any width: napari and scikit-image write 32 and 64 bits.

use std::io::Cursor;

use models::plane::Plane;
use support::{Context, Result, bail, picture};
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};

use super::image_file::MAX_PIXELS;

/// Whether these bytes begin as a TIFF file.
pub(super) fn is_tiff(bytes: &[u8]) -> bool {
    [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|mark| bytes.starts_with(*mark))
}

/// The numbers of a TIFF with one channel; `None` if it has several, which another reader looks at.
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
        // Fewer than 8 bits come packed: the other reader spreads them.
        _ if bits < 8 => return Ok(None),
        DecodingResult::U8(values) => whole(values),
        DecodingResult::U16(values) => whole(values),
        DecodingResult::U32(values) => whole(values),
        DecodingResult::U64(values) => whole(values),
        DecodingResult::I8(values) => whole(values),
        DecodingResult::I16(values) => whole(values),
        DecodingResult::I32(values) => whole(values),
        DecodingResult::I64(values) => whole(values),
        _ => bail!("expected whole numbers, found floating-point values"; hint: "save the labels as integers"),
    };
    Plane::new(width as usize, height as usize, data.doing(|| "reading an index map")?).map(Some)
}

fn whole<T: Copy + std::fmt::Display + TryInto<u32>>(values: Vec<T>) -> Result<Vec<u32>> {
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
    fn every_width_is_read() {
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
    fn negative_and_broken_numbers_are_refused() {
        assert!(read(&written::<colortype::GrayI32>(&[0, -1])).unwrap_err().to_string().contains("found -1"));
        assert!(read(&written::<colortype::Gray32Float>(&[0.5])).unwrap_err().to_string().contains("floating-point"));
    }
}

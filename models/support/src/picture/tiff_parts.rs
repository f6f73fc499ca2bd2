//! Check of TIFF files with JPEG strips or tiles, because their decoder accepts truncated streams.

use std::io::{Read, Seek, SeekFrom};

use tiff::decoder::Decoder;
use tiff::tags::Tag;

use super::jpeg;
use crate::{Context, Result, bail};

/// Value of the field `Compression` for JPEG (TIFF Technical Note 2).
const JPEG: u16 = 7;

/// Checks that the JPEG strips or tiles of the first image of a TIFF file are complete; rewinds `source`.
///
/// # Errors
/// A strip or tile that is missing, truncated or damaged; the error names its index.
pub fn check<R: Read + Seek>(source: &mut R) -> Result<()> {
    let length = source.seek(SeekFrom::End(0))?;
    source.rewind()?;
    let mut decoder = Decoder::new(&mut *source).doing(|| "reading the header")?;
    if decoder.find_tag_unsigned::<u16>(Tag::Compression)? == Some(JPEG) {
        let tables = decoder.find_tag(Tag::JPEGTables)?.map(tiff::decoder::ifd::Value::into_u8_vec).transpose()?;
        let (kind, places, counts) = match decoder.find_tag_unsigned_vec::<u64>(Tag::TileOffsets)? {
            Some(offsets) => ("tile", offsets, decoder.get_tag_u64_vec(Tag::TileByteCounts)?),
            None => ("strip", decoder.get_tag_u64_vec(Tag::StripOffsets)?, decoder.get_tag_u64_vec(Tag::StripByteCounts)?),
        };
        for (i, (offset, count)) in places.into_iter().zip(counts).enumerate() {
            if offset.checked_add(count).is_none_or(|end| end > length) {
                bail!("{kind} {i}: expected {count} bytes at byte {offset}, found the end of the file at byte {length}");
            }
            let mut bytes = vec![0; count as usize];
            decoder.inner().seek(SeekFrom::Start(offset))?;
            decoder.inner().read_exact(&mut bytes)?;
            jpeg::check_part(tables.as_deref(), &bytes).doing(|| format!("{kind} {i}"))?;
        }
    }
    drop(decoder);
    Ok(source.rewind()?)
}

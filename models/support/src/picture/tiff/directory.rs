//! Chain of image file directories (IFDs) of a TIFF file, and their fields.

use std::collections::{BTreeMap, HashSet};

use crate::{Context, Result, bail};

use super::file::BoundedFile;
use super::tag;

/// Maximum number of directories; real slides have fewer than 30.
const MAX_DIRECTORIES: usize = 1024;
/// Maximum number of fields of a directory.
const MAX_FIELDS: u64 = 4096;
/// Maximum number of values of a field with one value per sample, and of sub-directories.
const MAX_SAMPLES: u64 = 64;
/// Maximum length of a text in bytes.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Encoding of numbers in the file: byte order, and size of offsets.
#[derive(Clone, Copy)]
struct Encoding {
    big_endian: bool,
    big_tiff: bool,
}

impl Encoding {
    /// Decodes an unsigned integer.
    fn number(self, bytes: &[u8]) -> u64 {
        let push = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if self.big_endian { bytes.iter().fold(0, push) } else { bytes.iter().rev().fold(0, push) }
    }

    /// Returns the size of an offset in bytes.
    fn offset_bytes(self) -> usize {
        if self.big_tiff { 8 } else { 4 }
    }
}

/// Field of a directory; its values are read on request.
struct Field {
    /// Type of the values, as numbered by TIFF 6.0, section 2.
    kind: u16,
    count: u64,
    /// Position of the values in the file: inside the directory entry if they fit, elsewhere otherwise.
    offset: u64,
}

/// Image file directory.
pub struct Directory {
    encoding: Encoding,
    fields: BTreeMap<u16, Field>,
}

impl Directory {
    /// Reads all directories of the top-level chain; at least one.
    ///
    /// # Errors
    /// A damaged directory, a chain that forms a loop or exceeds `MAX_DIRECTORIES`, or no directory.
    pub fn chain(file: &BoundedFile) -> Result<Vec<Self>> {
        let (encoding, mut offset) = header(file)?;
        let mut directories = Vec::new();
        let mut seen = HashSet::new();
        while offset != 0 {
            if !seen.insert(offset) {
                bail!("the chain of directories comes back to byte {offset} after {} directories: the file is damaged", directories.len());
            }
            if directories.len() == MAX_DIRECTORIES {
                bail!("more than {MAX_DIRECTORIES} directories: the file is damaged");
            }
            let doing = || format!("directory {} at byte {offset}", directories.len());
            let (directory, next) = Self::read(file, encoding, offset).doing(doing)?;
            directories.push(directory);
            offset = next;
        }
        if directories.is_empty() {
            bail!("the TIFF file holds no image");
        }
        Ok(directories)
    }

    /// Reads the directories that this one refers to by the field `SubIFDs`; their own `SubIFDs` are not followed.
    pub fn children(&self, file: &BoundedFile) -> Result<Vec<Self>> {
        let offsets = self.values(tag::SUB_IFDS, MAX_SAMPLES, file)?.unwrap_or_default();
        let read = |offset: u64| Self::read(file, self.encoding, offset).doing(|| format!("directory at byte {offset}"));
        offsets.into_iter().filter(|&offset| offset != 0).map(|offset| read(offset).map(|(directory, _)| directory)).collect()
    }

    /// Reads the directory at `offset`; returns it with the offset of the next one, 0 at the end of the chain.
    fn read(file: &BoundedFile, encoding: Encoding, offset: u64) -> Result<(Self, u64)> {
        let (count_bytes, entry_bytes) = if encoding.big_tiff { (8, 20) } else { (2, 12) };
        let count = encoding.number(&file.read(offset, count_bytes)?);
        if count == 0 || count > MAX_FIELDS {
            bail!("{count} fields, expected 1 to {MAX_FIELDS}");
        }
        let entries_offset = offset + count_bytes;
        let bytes = file.read(entries_offset, count * entry_bytes + encoding.offset_bytes() as u64)?;
        let (entries, next) = bytes.split_at((count * entry_bytes) as usize);
        let mut fields = BTreeMap::new();
        for (i, entry) in entries.chunks_exact(entry_bytes as usize).enumerate() {
            let entry_offset = entries_offset + i as u64 * entry_bytes;
            let (number, field) = Field::read(encoding, entry, entry_offset);
            fields.entry(number).or_insert(field);
        }
        Ok((Self { encoding, fields }, encoding.number(next)))
    }

    /// Reports whether numbers of the file begin with their most significant byte.
    pub fn is_big_endian(&self) -> bool {
        self.encoding.big_endian
    }

    /// Reports whether the directory has a field.
    pub fn has(&self, number: u16) -> bool {
        self.fields.contains_key(&number)
    }

    /// Reads a field of exactly `expected` unsigned integers.
    pub fn list(&self, number: u16, expected: u64, file: &BoundedFile) -> Result<Vec<u64>> {
        let count = self.fields.get(&number).map_or(0, |field| field.count);
        if count != expected {
            bail!("{} has {count} values, expected {expected}", tag::name(number));
        }
        Ok(self.values(number, expected, file)?.unwrap_or_default())
    }

    /// Reads at most `limit` unsigned integers of a field; `None` if the field is missing.
    pub fn values(&self, number: u16, limit: u64, file: &BoundedFile) -> Result<Option<Vec<u64>>> {
        let Some(field) = self.fields.get(&number) else { return Ok(None) };
        if !matches!(field.kind, 1 | 3 | 4 | 13 | 16 | 18) {
            bail!("{} has values of type {}, expected unsigned integers", tag::name(number), field.kind);
        }
        let bytes = field.bytes(field.count.min(limit), file).doing(|| tag::name(number))?;
        Ok(Some(bytes.chunks_exact(field.value_bytes() as usize).map(|value| self.encoding.number(value)).collect()))
    }

    /// Checks that no field has more values than any image needs, before a reader that trusts counts opens the file.
    pub fn check_counts(&self) -> Result<()> {
        for (number, field) in &self.fields {
            if field.value_bytes().saturating_mul(field.count) > MAX_TEXT_BYTES {
                bail!("tag {number} ({}) has {} values, more than are believed", tag::name(*number), field.count);
            }
        }
        Ok(())
    }

    /// Reads a field of one unsigned integer; returns `default` if the field is missing.
    pub fn number(&self, number: u16, default: u64, file: &BoundedFile) -> Result<u64> {
        let count = self.fields.get(&number).map_or(1, |field| field.count);
        if count > MAX_SAMPLES {
            bail!("{} has {count} values, expected one", tag::name(number));
        }
        Ok(self.values(number, 1, file)?.and_then(|values| values.first().copied()).unwrap_or(default))
    }

    /// Reads the first value of a field of rationals or floats; `None` if the field is missing.
    pub fn fraction(&self, number: u16, file: &BoundedFile) -> Result<Option<f64>> {
        let Some(field) = self.fields.get(&number) else { return Ok(None) };
        let bytes = field.bytes(field.count.min(1), file)?;
        let part = |range: std::ops::Range<usize>| bytes.get(range).map(|bytes| self.encoding.number(bytes));
        Ok(match field.kind {
            5 => part(0..4).zip(part(4..8)).map(|(numerator, denominator)| numerator as f64 / denominator as f64),
            11 => part(0..4).map(|bits| f64::from(f32::from_bits(bits as u32))),
            12 => part(0..8).map(f64::from_bits),
            _ => None,
        })
    }

    /// Reads the text of a field up to its first NUL; `None` if the field is missing.
    pub fn text(&self, number: u16, file: &BoundedFile) -> Result<Option<String>> {
        let Some(bytes) = self.raw(number, file)? else { return Ok(None) };
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Ok(Some(String::from_utf8_lossy(&bytes[..end]).into_owned()))
    }

    /// Reads the bytes of a field without decoding; `None` if the field is missing.
    pub fn raw(&self, number: u16, file: &BoundedFile) -> Result<Option<Vec<u8>>> {
        let Some(field) = self.fields.get(&number) else { return Ok(None) };
        if field.value_bytes().saturating_mul(field.count) > MAX_TEXT_BYTES {
            bail!("tag {number} has {} values, more than are believed", field.count);
        }
        field.bytes(field.count, file).map(Some)
    }
}

impl Field {
    /// Parses a directory entry at position `entry_offset`; returns the tag and the field.
    fn read(encoding: Encoding, entry: &[u8], entry_offset: u64) -> (u16, Self) {
        let (number, kind) = (encoding.number(&entry[..2]) as u16, encoding.number(&entry[2..4]) as u16);
        let width = encoding.offset_bytes();
        let count = encoding.number(&entry[4..4 + width]);
        let mut field = Self { kind, count, offset: entry_offset + 4 + width as u64 };
        if field.value_bytes().saturating_mul(count) > width as u64 {
            field.offset = encoding.number(&entry[4 + width..]);
        }
        (number, field)
    }

    /// Returns the size of one value in bytes; 0 for types that TIFF does not define.
    fn value_bytes(&self) -> u64 {
        match self.kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            _ => 0,
        }
    }

    /// Reads the bytes of the first `count` values.
    fn bytes(&self, count: u64, file: &BoundedFile) -> Result<Vec<u8>> {
        file.read(self.offset, self.value_bytes().saturating_mul(count))
    }
}

/// Reads the file header: the encoding of numbers and the offset of the first directory.
fn header(file: &BoundedFile) -> Result<(Encoding, u64)> {
    let head = file.read(0, 8)?;
    let big_endian = match &head[..2] {
        b"II" => false,
        b"MM" => true,
        _ => bail!("not a TIFF file: it begins with neither II nor MM"),
    };
    let mut encoding = Encoding { big_endian, big_tiff: false };
    match encoding.number(&head[2..4]) {
        42 => return Ok((encoding, encoding.number(&head[4..8]))),
        43 => encoding.big_tiff = true,
        version => bail!("TIFF version {version}, expected 42 or 43 (BigTIFF)"),
    }
    if encoding.number(&head[4..6]) != 8 {
        bail!("BigTIFF with offsets of {} bytes, expected 8", encoding.number(&head[4..6]));
    }
    Ok((encoding, encoding.number(&file.read(8, 8)?)))
}

//! File format of `torch.save` before PyTorch 1.6.
//!
//! Five pickles in sequence (magic number, protocol version, system information, values, storage keys) precede the storages, each of which
//! consists of its number of elements (64 bits, little-endian) and its elements.

use std::collections::BTreeMap;
use std::ops::Range;

use support::{Context, Result, bail};

use super::archive::decoder;
use super::pickle::{self, Value, Values};

/// First pickle: the magic number 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Second pickle: the protocol version 1001.
const PROTOCOL: &[u8] = b"\x80\x02M\xe9\x03.";

/// Values of a file and the byte ranges of its storages.
pub struct Legacy {
    /// Values of the fourth pickle.
    pub values: Values,
    /// Byte range of each storage in the file, by its key.
    pub storages: BTreeMap<String, Range<usize>>,
}

/// Reports whether the file starts with the magic number of the legacy format.
pub fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads the pickles and locates the storages.
///
/// # Errors
/// Another protocol version, a storage that no tensor refers to, or a storage that exceeds the file.
pub fn read(bytes: &[u8]) -> Result<Legacy> {
    let mut at = MAGIC.len();
    if !bytes[at..].starts_with(PROTOCOL) {
        bail!("expected protocol version 1001");
    }
    at += PROTOCOL.len();
    let mut next = |content: &str| -> Result<(Values, usize)> {
        let (values, len) = pickle::read_first(&bytes[at..]).doing(|| format!("reading {content}, a pickle at offset {at}"))?;
        at += len;
        Ok((values, at))
    };
    next("the system information")?;
    let (values, _) = next("the values")?;
    let (keys, mut at) = next("the storage keys")?;
    let widths = widths(&values);
    let mut storages = BTreeMap::new();
    for &key in keys.sequence(keys.root).unwrap_or_default() {
        let Some(key) = keys.text(key) else { bail!("a storage key that is no text") };
        let Some(width) = widths.get(key) else { bail!("no tensor refers to the storage {key}") };
        let Some((length, rest)) = bytes[at..].split_first_chunk::<8>() else { bail!("the file ends before the storage {key}") };
        let length = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|n| n.checked_mul(*width));
        let Some(length) = length.filter(|length| *length <= rest.len()) else { bail!("the storage {key} exceeds the file") };
        storages.insert(key.to_owned(), at + 8..at + 8 + length);
        at += 8 + length;
    }
    Ok(Legacy { values, storages })
}

/// Returns the element size in bytes of each storage, by its key.
fn widths(values: &Values) -> BTreeMap<String, usize> {
    let width = |class: &str| match class {
        "torch.LongStorage" => Some(8),
        "torch.IntStorage" => Some(4),
        "torch.ShortStorage" => Some(2),
        "torch.ByteStorage" | "torch.CharStorage" | "torch.BoolStorage" => Some(1),
        other => decoder(other).map(|(width, _)| width),
    };
    let described = values.iter().filter_map(|value| {
        let &Value::PersistentId(id) = value else { return None };
        let &[_, class, key, ..] = values.sequence(id)? else { return None };
        Some((values.text(key)?.to_owned(), width(values.global(class)?)?))
    });
    described.collect()
}

//! What `torch.save` wrote before PyTorch 1.6: five pickles in a row (a number, the protocol, the machine, the values, the names of
//! storages), then every storage as its length (64 bits) and its numbers.

use std::collections::BTreeMap;
use std::ops::Range;

use support::{Context, Result, bail};

use super::archive::decoder;
use super::pickle::{self, Value, Values};

/// The first pickle: 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The second: 1001.
const PROTOCOL: &[u8] = b"\x80\x02M\xe9\x03.";

/// The values of a file and where its storages lie.
pub struct Legacy {
    pub values: Values,
    pub storages: BTreeMap<String, Range<usize>>,
}

/// Whether the file begins as such files do.
pub fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads all but the numbers.
///
/// # Errors
/// Another protocol, a storage that nothing describes or that is longer than the file.
pub fn read(bytes: &[u8]) -> Result<Legacy> {
    let mut at = MAGIC.len();
    if !bytes[at..].starts_with(PROTOCOL) {
        bail!("its protocol is not 1001");
    }
    at += PROTOCOL.len();
    let mut next = |what: &str| -> Result<(Values, usize)> {
        let (values, len) = pickle::read_first(&bytes[at..]).doing(|| format!("reading {what}, a pickle at offset {at}"))?;
        at += len;
        Ok((values, at))
    };
    next("the machine")?;
    let (values, _) = next("the values")?;
    let (keys, mut at) = next("the names of storages")?;
    let widths = widths(&values);
    let mut storages = BTreeMap::new();
    for &key in keys.sequence(keys.root).unwrap_or_default() {
        let Some(key) = keys.text(key) else { bail!("a storage without a name") };
        let Some(width) = widths.get(key) else { bail!("no tensor describes the storage {key}") };
        let Some((length, rest)) = bytes[at..].split_first_chunk::<8>() else { bail!("the file ends before the storage {key}") };
        let length = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|n| n.checked_mul(*width));
        let Some(length) = length.filter(|length| *length <= rest.len()) else { bail!("the storage {key} is longer than the file") };
        storages.insert(key.to_owned(), at + 8..at + 8 + length);
        at += 8 + length;
    }
    Ok(Legacy { values, storages })
}

/// Bytes of a number of each storage.
fn widths(values: &Values) -> BTreeMap<String, usize> {
    let width = |class: &str| match class {
        "torch.LongStorage" => Some(8),
        "torch.IntStorage" => Some(4),
        "torch.ShortStorage" => Some(2),
        "torch.ByteStorage" | "torch.CharStorage" | "torch.BoolStorage" => Some(1),
        other => decoder(other).map(|(width, _)| width),
    };
    let described = values.iter().filter_map(|value| {
        let &Value::Outside(id) = value else { return None };
        let &[_, class, key, ..] = values.sequence(id)? else { return None };
        Some((values.text(key)?.to_owned(), width(values.global(class)?)?))
    });
    described.collect()
}

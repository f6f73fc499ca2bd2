//! Checks on the header of a safetensors file before the file is parsed.

use support::{Context, Result, bail};

/// Largest accepted header; the 251 tensors of this project's default network need 30 KiB.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Largest accepted number of entries.
const MAX_TENSORS: usize = 4096;

/// Checks length, number of entries and uniqueness of keys. JSON parsers silently take the last of two equal keys.
///
/// # Errors
/// A header that is too long, truncated, no JSON, or has too many or repeated keys.
pub fn check(bytes: &[u8]) -> Result<()> {
    let Some(head) = bytes.first_chunk::<8>() else {
        bail!("expected at least 8 bytes, found {}", bytes.len());
    };
    let length = u64::from_le_bytes(*head);
    if length > MAX_HEADER_BYTES {
        bail!("the header claims {length} bytes, more than the {MAX_HEADER_BYTES} that are allowed");
    }
    let Some(header) = bytes.get(8..8 + length as usize) else {
        bail!("the header claims {length} bytes, but the file ends at offset {}", bytes.len());
    };
    let entries: Entries = serde_json::from_slice(header).doing(|| "parsing the header")?;
    if entries.0.len() > MAX_TENSORS {
        bail!("the header names {} tensors, more than the {MAX_TENSORS} that are allowed", entries.0.len());
    }
    Ok(())
}

/// Keys of a JSON object, each of which may occur once.
struct Entries(std::collections::BTreeSet<String>);

impl<'de> serde::Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Entries;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut keys = std::collections::BTreeSet::new();
                while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    if !keys.insert(key.clone()) {
                        return Err(serde::de::Error::custom(format!("the key {key:?} occurs twice")));
                    }
                }
                Ok(Entries(keys))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_bounded_and_their_keys_unique() {
        let mut huge = (90u64 << 20).to_le_bytes().to_vec();
        huge.extend_from_slice(b"{}");
        assert!(check(&huge).unwrap_err().to_string().contains("more than"));
        let json = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let mut twice = (json.len() as u64).to_le_bytes().to_vec();
        twice.extend_from_slice(json);
        twice.extend_from_slice(&[0; 4]);
        assert!(check(&twice).unwrap_err().to_string().contains("twice"));
    }
}

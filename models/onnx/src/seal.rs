//! Seal of a model file: the last metadata entry, which holds the SHA-256 of all bytes before it.
//!
//! ONNX Runtime loads a third of all damaged files without an error and computes wrong results; the seal detects any changed byte. The seal
//! does not protect against intent, because anyone who can write the file can seal it; signatures do.

use prost::Message;
use support::durable;

#[cfg(any(doc, test))]
use crate::proto::ModelProto;
use crate::proto::StringStringEntryProto;

/// Metadata key of the seal.
pub const SEAL_KEY: &str = "contents_sha256";
/// Protobuf tag of the entries of [`ModelProto::metadata_props`]: field 14, length-delimited.
const METADATA_TAG: u8 = 14 << 3 | 2;

/// Appends the seal to the bytes of an ONNX file. The result is an ONNX file with one more metadata entry.
pub fn seal(mut contents: Vec<u8>) -> Vec<u8> {
    let entry = seal_entry(&durable::sha256(&contents));
    contents.extend_from_slice(&entry);
    contents
}

/// Encodes the metadata entry with its tag.
fn seal_entry(sha256: &str) -> Vec<u8> {
    let entry = StringStringEntryProto { key: SEAL_KEY.into(), value: sha256.into() };
    let mut bytes = vec![METADATA_TAG];
    entry.encode_length_delimited(&mut bytes).expect("a vector grows");
    bytes
}

/// Splits a file into its contents and the SHA-256 that the seal states (not verified here); `None` if the file does not end in a seal.
pub fn unsealed(bytes: &[u8]) -> Option<(&[u8], &str)> {
    const HEX: usize = 64;
    let head = seal_entry(&"0".repeat(HEX));
    let (contents, seal) = bytes.split_at_checked(bytes.len().checked_sub(head.len())?)?;
    let (start, digest) = seal.split_at(seal.len() - HEX);
    let digest = std::str::from_utf8(digest).ok()?;
    (start == &head[..head.len() - HEX]).then_some((contents, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seal_is_a_metadata_entry_and_detects_every_flipped_bit() {
        let sealed = seal(ModelProto { ir_version: 8, ..ModelProto::default() }.encode_to_vec());
        let metadata = ModelProto::decode(sealed.as_slice()).unwrap().metadata_props;
        assert_eq!(metadata.len(), 1);
        assert_eq!(metadata[0].key, SEAL_KEY);
        let holds = |bytes: &[u8]| unsealed(bytes).is_some_and(|(contents, seal)| durable::sha256(contents) == seal);
        assert!(holds(&sealed));
        for i in 0..sealed.len() {
            assert!(!holds(&sealed[..i]), "prefix of {i} bytes");
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[i] ^= 1 << bit;
                assert!(!holds(&changed), "byte {i} bit {bit}");
            }
        }
    }
}

//! The seal of a model file: a last metadata entry with the SHA-256 of everything before it.
//!
//! ONNX Runtime takes a third of all damaged files for good ones and computes something else; with the seal no changed byte passes.
//! The seal does not protect against intent, because whoever can write the file can seal it.

use prost::Message;
use support::artifact;

#[cfg(any(doc, test))]
use crate::proto::ModelProto;
use crate::proto::StringStringEntryProto;

/// Metadata key of the seal.
pub const SEAL_KEY: &str = "contents_sha256";
/// Wire key that starts each entry of [`ModelProto::metadata_props`]: field 14, length-delimited.
const METADATA_TAG: u8 = 14 << 3 | 2;

/// `contents` with the seal after it: still an ONNX file, one metadata entry longer.
pub fn seal(mut contents: Vec<u8>) -> Vec<u8> {
    let entry = seal_entry(&artifact::sha256(&contents));
    contents.extend_from_slice(&entry);
    contents
}

fn seal_entry(sha256: &str) -> Vec<u8> {
    let entry = StringStringEntryProto { key: SEAL_KEY.into(), value: sha256.into() };
    let mut bytes = vec![METADATA_TAG];
    entry.encode_length_delimited(&mut bytes).expect("a vector grows");
    bytes
}

/// The contents and the SHA-256 that the seal says they have; `None` if the file does not end in a seal.
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
    fn the_seal_is_an_entry_of_the_metadata_and_guards_every_byte() {
        let sealed = seal(ModelProto { ir_version: 8, ..ModelProto::default() }.encode_to_vec());
        let metadata = ModelProto::decode(sealed.as_slice()).unwrap().metadata_props;
        assert_eq!(metadata.len(), 1);
        assert_eq!(metadata[0].key, SEAL_KEY);
        let holds = |bytes: &[u8]| unsealed(bytes).is_some_and(|(contents, seal)| artifact::sha256(contents) == seal);
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

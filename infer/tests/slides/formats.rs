//! Pyramids with the layout of other programs.

use crate::picture::{save_tiff, tissue};
use crate::random::Random;

/// Reads a little-endian u64.
pub fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Moves the later directories of a BigTIFF from the chain to `SubIFDs` of the first directory, as in OME-TIFF.
fn with_sub_ifds(mut bytes: Vec<u8>) -> Vec<u8> {
    let first = number(&bytes, 8) as usize;
    let fields = number(&bytes, first) as usize;
    let mut entries: Vec<Vec<u8>> = bytes[first + 8..first + 8 + 20 * fields].chunks(20).map(<[u8]>::to_vec).collect();
    let mut others = Vec::new();
    let mut next = number(&bytes, first + 8 + 20 * fields);
    while next != 0 {
        others.push(next);
        let at = next as usize;
        next = number(&bytes, at + 8 + 20 * number(&bytes, at) as usize);
    }
    assert!(others.len() > 1);
    let list = bytes.len() as u64;
    others.iter().for_each(|offset| bytes.extend(offset.to_le_bytes()));
    let entry = [&330u16.to_le_bytes()[..], &18u16.to_le_bytes(), &(others.len() as u64).to_le_bytes(), &list.to_le_bytes()].concat();
    entries.push(entry);
    entries.sort_by_key(|entry| u16::from_le_bytes([entry[0], entry[1]]));
    let directory = bytes.len() as u64;
    bytes.extend((entries.len() as u64).to_le_bytes());
    bytes.extend(entries.concat());
    bytes.extend(0u64.to_le_bytes());
    bytes[8..16].copy_from_slice(&directory.to_le_bytes());
    bytes
}

#[test]
fn levels_in_sub_ifds_are_read_like_levels_in_a_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, sub) = (folder.path().join("chain.tif"), folder.path().join("sub.tif"));
    save_tiff(&tissue(&mut Random(17), 2100, 1300), &chain, Some(0.5));
    std::fs::write(&sub, with_sub_ifds(std::fs::read(&chain).unwrap())).unwrap();
    let (chain, sub) = (slides::open(&chain, None).unwrap(), slides::open(&sub, None).unwrap());
    assert_eq!((chain.levels(), chain.microns_per_pixel()), (sub.levels(), sub.microns_per_pixel()));
    assert!(sub.levels().len() > 2 && sub.facts().notes.is_empty());
    for (level, size) in sub.levels().iter().enumerate() {
        let [a, b] = [&chain, &sub].map(|slide| slide.read_region(level, 0, 0, size.width as usize, size.height as usize).unwrap());
        assert!(a == b, "level {level}");
    }
}

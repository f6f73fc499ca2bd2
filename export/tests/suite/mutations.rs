//! Damaged files by the ten thousand: none is taken, none panics, none hangs.

use std::time::{Duration, Instant};

use export::weights::Checkpoint;
use infer::segmenter::Model;
use models::unet::UNetConfig;
use models::weights::WeightsFile;

use crate::shipped::checkpoint;

const COUNT: usize = 20_000;
/// A file that takes so long hangs: a thousandth is usual.
const HANGS: Duration = Duration::from_secs(10);

/// Counted randomness: `splitmix64` (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % n as u64) as usize
    }
}

/// Bits flipped, bytes replaced, cut, repeated, inserted or swapped; now and then near the beginning, where headers are.
fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let near = if random.below(2) == 0 { bytes.len().min(4096) } else { bytes.len() };
        let (at, other) = (random.below(near), random.below(bytes.len()));
        let end = (at + 1 + random.below(64)).min(bytes.len());
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 0x7f, 0x80, 0xff][random.below(4)],
            2 => bytes.truncate(at.max(1)),
            3 => drop(bytes.drain(at..end.max(at + 1))),
            4 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(other..other, part);
            }
            5 => bytes.insert(at, random.below(256) as u8),
            _ => bytes.swap(at, other),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}

/// How many of the mutations of `bytes` that differ from it `open` takes.
fn taken(bytes: &[u8], seed: u64, open: impl Fn(Vec<u8>) -> bool) -> usize {
    let mut random = Random(seed);
    (0..COUNT)
        .filter(|i| {
            let changed = mutated(bytes, &mut random);
            let differs = changed != bytes;
            let began = Instant::now();
            let is_taken = open(changed);
            assert!(began.elapsed() < HANGS, "mutation {i} took {:?}", began.elapsed());
            differs && is_taken
        })
        .count()
}

#[test]
fn no_damaged_model_is_taken() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/models/format-1.onnx")).unwrap();
    Model::from_bytes(bytes.clone()).unwrap();
    assert_eq!(taken(&bytes, 1, |bytes| Model::from_bytes(bytes).is_ok()), 0);
}

/// A checkpoint of this project carries the digest of its contents; without it, it is none.
#[test]
fn no_damaged_checkpoint_is_taken_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let config = UNetConfig { encoder_width: 2, decoder_channels: [4, 3, 2, 2, 2], ..UNetConfig::default() };
    let bytes = std::fs::read(checkpoint(folder.path(), &config)).unwrap();
    let original = WeightsFile::from_bytes(&bytes).unwrap();
    let open = |bytes: Vec<u8>| {
        let Ok(file) = WeightsFile::from_bytes(&bytes) else { return false };
        // White space in the header and the like change nothing that is read.
        file != original && Checkpoint::from_file(file, true).is_ok()
    };
    assert_eq!(taken(&bytes, 2, open), 0);
}

//! Mutation tests: 20,000 damaged files of each kind are refused without a panic and without hanging.

use std::time::{Duration, Instant};

use export::checkpoint::Checkpoint;
use infer::model::Model;
use models::unet::UNetConfig;
use models::weights::WeightsFile;

use crate::shipped::checkpoint;

/// Number of mutations per test.
const COUNT: usize = 20_000;
/// Time after which opening a file counts as hanging; a thousandth of it is usual.
const HANG_TIME: Duration = Duration::from_secs(10);

/// Counter-based random numbers: `splitmix64` (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
struct CounterRng(u64);

impl CounterRng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % n as u64) as usize
    }
}

/// Flips bits, or replaces, cuts, repeats, inserts or swaps bytes; every second time in the first 4 KiB, because headers are there.
fn mutated(bytes: &[u8], random: &mut CounterRng) -> Vec<u8> {
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

/// Counts the mutations that differ from `bytes` and that `open` accepts.
fn accepted(bytes: &[u8], seed: u64, open: impl Fn(Vec<u8>) -> bool) -> usize {
    let mut random = CounterRng(seed);
    (0..COUNT)
        .filter(|i| {
            let changed = mutated(bytes, &mut random);
            let differs = changed != bytes;
            let began = Instant::now();
            let is_accepted = open(changed);
            assert!(began.elapsed() < HANG_TIME, "mutation {i} took {:?}", began.elapsed());
            differs && is_accepted
        })
        .count()
}

#[test]
fn damaged_models_are_refused() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/models/format-1.onnx")).unwrap();
    Model::from_bytes(bytes.clone()).unwrap();
    assert_eq!(accepted(&bytes, 1, |bytes| Model::from_bytes(bytes).is_ok()), 0);
}

/// A checkpoint of this project is accepted only with a matching digest of its contents.
#[test]
fn damaged_checkpoints_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = UNetConfig { encoder_width: 2, decoder_channels: [4, 3, 2, 2, 2], ..UNetConfig::default() };
    let bytes = std::fs::read(checkpoint(folder.path(), &config)).unwrap();
    let original = WeightsFile::from_bytes(&bytes).unwrap();
    let open = |bytes: Vec<u8>| {
        let Ok(file) = WeightsFile::from_bytes(&bytes) else { return false };
        // Changes such as white space in the header do not change the parsed contents.
        file != original && Checkpoint::from_file(file, true).is_ok()
    };
    assert_eq!(accepted(&bytes, 2, open), 0);
}

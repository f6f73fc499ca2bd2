//! Damaged and manipulated slides: a clear error or lost tiles within bounded time, and never a panic.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use infer::output::summary::Status;
use infer::segment::Options;
use slides::Slide;

use crate::formats::number;
use crate::picture::{card, run, save_tiff, tissue};
use crate::random::Random;

const SIDE: usize = 2048;

/// Slide of 4 x 4 tiles with two reduced levels, as bytes, with access to its directory entries.
struct Base {
    bytes: Vec<u8>,
}

impl Base {
    fn new(folder: &Path) -> Self {
        let path = folder.join("base.tif");
        let mut picture = tissue(&mut Random(21), SIDE, SIDE);
        // Fewer different values make a smaller file; hundreds of copies are written and read.
        picture.data.iter_mut().for_each(|value| *value &= 0xc0);
        save_tiff(&picture, &path, Some(0.5));
        Self { bytes: std::fs::read(path).unwrap() }
    }

    fn number(&self, at: usize) -> u64 {
        number(&self.bytes, at)
    }

    fn directory(&self, index: usize) -> usize {
        (0..index).fold(self.number(8) as usize, |at, _| self.number(at + 8 + 20 * self.number(at) as usize) as usize)
    }

    /// Returns the offset of a directory entry.
    fn field(&self, directory: usize, tag: u16) -> usize {
        let at = self.directory(directory);
        (0..self.number(at) as usize)
            .map(|i| at + 8 + 20 * i)
            .find(|&entry| self.bytes[entry..entry + 2] == tag.to_le_bytes())
            .unwrap_or_else(|| panic!("no field {tag}"))
    }

    fn with(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut changed = self.bytes.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    }

    fn with_value(&self, tag: u16, value: u64) -> Vec<u8> {
        self.with(self.field(0, tag) + 12, &value.to_le_bytes())
    }

    fn with_count(&self, tag: u16, count: u64) -> Vec<u8> {
        self.with(self.field(0, tag) + 4, &count.to_le_bytes())
    }

    fn with_type(&self, tag: u16, kind: u16) -> Vec<u8> {
        self.with(self.field(0, tag) + 2, &kind.to_le_bytes())
    }

    fn with_tag(&self, tag: u16, other: u16) -> Vec<u8> {
        self.with(self.field(0, tag), &other.to_le_bytes())
    }

    /// Returns the offset of the list of tile offsets (tag 324) or byte counts (325) of level 0.
    fn list(&self, tag: u16) -> usize {
        self.number(self.field(0, tag) + 12) as usize
    }
}

fn save(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(format!("{name}.tif"));
    std::fs::write(&path, bytes).unwrap();
    path
}

fn open_within_a_second(path: &Path) -> support::Result<Box<dyn Slide>> {
    let began = Instant::now();
    let opened = slides::open(path, Some(Path::new("nowhere.so")));
    assert!(began.elapsed() < Duration::from_secs(1), "{} took {:?}: {:?}", path.display(), began.elapsed(), opened.err());
    opened
}

#[test]
fn invalid_headers_are_errors_that_name_the_fault() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path());
    let length = base.bytes.len();
    let last = base.directory(2);
    let next_of_last = last + 8 + 20 * base.number(last) as usize;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "OpenSlide"),
        ("magic-only", base.bytes[..4].to_vec(), "found the end of the file"),
        ("header-only", base.bytes[..16].to_vec(), "found the end of the file"),
        ("first-directory-cut", base.bytes[..base.directory(0) + 30].to_vec(), "directory 0"),
        ("version", base.with(2, &[44, 0]), "OpenSlide"),
        ("offset-bytes", base.with(4, &[4, 0]), "expected 8"),
        ("no-directory", base.with(8, &[0; 8]), "no image"),
        ("directory-outside", base.with(8, &(length as u64 + 5).to_le_bytes()), "found the end of the file"),
        ("directory-far-outside", base.with(8, &u64::MAX.to_le_bytes()), "found the end of the file"),
        ("directory-in-pixels", base.with(8, &100u64.to_le_bytes()), "directory 0"),
        ("cycle", base.with(next_of_last, &(base.directory(0) as u64).to_le_bytes()), "comes back"),
        ("self-cycle", base.with(next_of_last, &(last as u64).to_le_bytes()), "comes back"),
        ("fields", base.with(base.directory(0), &u64::MAX.to_le_bytes()), "fields"),
        ("no-fields", base.with(base.directory(0), &[0; 8]), "fields"),
        ("many-fields", base.with(base.directory(0), &4000u64.to_le_bytes()), "found the end of the file"),
        ("width-0", base.with_value(256, 0), "width of 0"),
        ("height-0", base.with_value(257, 0), "height of 0"),
        ("width-huge", base.with_value(256, 60_000), "expected"),
        ("width-4-billion", base.with_value(256, u64::from(u32::MAX)), "width of 4294967295"),
        (
            "both-60000",
            {
                let wide = base.with_value(256, 60_000);
                Base { bytes: wide }.with_value(257, 60_000)
            },
            "expected",
        ),
        ("tile-0", base.with_value(322, 0), "tile width of 0"),
        ("tile-1", base.with_value(322, 1), "expected"),
        ("tile-huge", base.with_value(323, 1 << 20), "tile height"),
        ("offsets-count", base.with_count(324, 17), "17 values, expected 16"),
        ("offsets-count-lies", base.with_count(324, 1 << 40), "1099511627776 values, expected 16"),
        ("offsets-count-overflows", base.with_count(324, u64::MAX), "expected 16"),
        ("counts-count", base.with_count(325, 1), "1 values, expected 16"),
        ("offsets-outside", base.with_value(324, length as u64 - 4), "found the end of the file"),
        ("offsets-text", base.with_type(324, 2), "unsigned integers"),
        ("width-float", base.with_type(256, 11), "unsigned integers"),
        ("no-counts", base.with_tag(325, 60_001), "0 values, expected 16"),
        ("samples-count", base.with_count(277, 6_684_673), "6684673 values, expected one"),
        ("unknown-compression", base.with_value(259, 50_013), "OpenSlide"),
        ("jpeg-2000", base.with_value(259, 33_003), "JPEG 2000"),
    ];
    assert!(cases.len() >= 20);
    for (name, bytes, expected) in cases {
        let path = save(folder.path(), name, &bytes);
        let error = open_within_a_second(&path).err().unwrap_or_else(|| panic!("{name} was opened"));
        assert!(format!("{error:?}").contains(expected) && error.to_string().contains(name), "{name}: {error:?}");
    }
}

#[test]
fn mutated_headers_are_read_or_refused_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path());
    let mut random = Random(77);
    let directories: Vec<usize> = (0..3).map(|i| base.directory(i)).collect();
    for round in 0..400 {
        let mut bytes = base.bytes.clone();
        for _ in 0..random.between(1, 4) {
            let directory = directories[random.below(3)];
            let at = if random.chance(0.9) { directory + random.below(8 + 15 * 20 + 8) } else { random.below(16) };
            let at = at.min(bytes.len() - 1);
            bytes[at] = if random.chance(0.5) { random.next() as u8 } else { bytes[at] ^ 1 << random.below(8) };
        }
        let path = save(folder.path(), &format!("mutant{}", round % 4), &bytes);
        if let Ok(slide) = open_within_a_second(&path) {
            let began = Instant::now();
            for level in 0..slide.levels().len() {
                slide.read_region(level, -10, -10, 700, 700).unwrap();
            }
            assert!(began.elapsed() < Duration::from_secs(5), "round {round} took {:?}", began.elapsed());
        }
    }
}

/// Damages `count` tiles of level 0 by a wrong length, other bytes or length 0; returns the file and the tiles.
fn damaged(base: &Base, count: usize) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = base.bytes.clone();
    let tiles: Vec<usize> = (0..count).map(|i| i * 5 % 16).collect();
    for (i, &tile) in tiles.iter().enumerate() {
        let entry = base.list(325) + 8 * tile;
        let (offset, size) = (base.number(base.list(324) + 8 * tile) as usize, base.number(entry) as usize);
        match i % 3 {
            0 => bytes[entry..entry + 8].copy_from_slice(&(size as u64 / 2).to_le_bytes()),
            1 => bytes[offset..offset + size].fill(0xa5),
            _ => bytes[entry..entry + 8].copy_from_slice(&0u64.to_le_bytes()),
        }
    }
    (bytes, tiles)
}

#[test]
fn damaged_tiles_are_lost_and_other_tiles_are_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path());
    let whole = slides::open(&folder.path().join("base.tif"), None).unwrap().read_region(0, 0, 0, SIDE, SIDE).unwrap();
    for count in [0, 1, 3, 11] {
        let (bytes, mut tiles) = damaged(&base, count);
        let slide = open_within_a_second(&save(folder.path(), "damaged", &bytes)).unwrap();
        let region = slide.read_region(0, 0, 0, SIDE, SIDE).unwrap();
        tiles.sort_unstable();
        let lost: Vec<usize> = slide.lost_tiles().iter().map(|tile| (tile.y / 512 * 4 + tile.x / 512) as usize).collect();
        assert_eq!(lost, tiles);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let expected = if tiles.contains(&(y / 512 * 4 + x / 512)) { [255; 3] } else { whole.at(x, y) };
                assert!(region.at(x, y) == expected, "{x}, {y}");
            }
        }
    }
}

#[test]
fn a_slide_with_more_than_five_percent_lost_is_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path());
    let options = Options { out: folder.path().join("out"), ..Options::default() };
    let path = save(folder.path(), "one", &damaged(&base, 1).0);
    let (summary, out) = run(&path, &card(None), 1, &options).unwrap();
    assert_eq!((summary.status, summary.areas.lost_tiles.len()), (Status::Incomplete, 1));
    assert_eq!((summary.areas.lost_share, summary.areas.lost_px), (1.0 / 16.0, 512 * 512));
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!((&json["status"], &json["areas"]["lost_tiles"][0]["x"]), (&"incomplete".into(), &0.into()));
}

#[test]
fn decompression_of_an_oversized_tile_stops_at_the_tile_size() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path());
    let mut bytes = base.bytes.clone();
    let mut bomb = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(7), 250 << 20), &mut bomb).unwrap();
    let bomb = bomb.finish().unwrap();
    bytes[base.list(324)..base.list(324) + 8].copy_from_slice(&(base.bytes.len() as u64).to_le_bytes());
    bytes[base.list(325)..base.list(325) + 8].copy_from_slice(&(bomb.len() as u64).to_le_bytes());
    bytes.extend(bomb);
    let slide = open_within_a_second(&save(folder.path(), "bomb", &bytes)).unwrap();
    let began = Instant::now();
    // The predictor adds each value to the left pixel.
    assert_eq!(slide.read_region(0, 0, 0, 512, 512).unwrap().at(5, 5), [6 * 7; 3]);
    assert!(began.elapsed() < Duration::from_secs(1));
}

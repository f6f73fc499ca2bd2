//! Tiled slides of 16 bits and of four samples, read tile by tile.

use std::path::Path;

use tiff::encoder::TiffEncoder;
use tiff::tags::Tag;

/// Side of the slide and of its tiles in pixels.
const SIDE: u32 = 40;
const TILE: u32 = 16;

/// Writes an image in tiles whose bytes are `tile`, all tiles the same bytes of the file.
fn save(path: &Path, tile: &[u8], bits: &[u16], photometric: u16, extra: Option<u16>) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut encoder = TiffEncoder::new(&mut file).unwrap();
    let mut directory = encoder.image_directory().unwrap();
    let offset = directory.write_data(tile).unwrap() as u32;
    let count = SIDE.div_ceil(TILE).pow(2) as usize;
    directory.write_tag(Tag::ImageWidth, SIDE).unwrap();
    directory.write_tag(Tag::ImageLength, SIDE).unwrap();
    directory.write_tag(Tag::BitsPerSample, bits).unwrap();
    directory.write_tag(Tag::Compression, 1u16).unwrap();
    directory.write_tag(Tag::PhotometricInterpretation, photometric).unwrap();
    directory.write_tag(Tag::SamplesPerPixel, bits.len() as u16).unwrap();
    directory.write_tag(Tag::TileWidth, TILE).unwrap();
    directory.write_tag(Tag::TileLength, TILE).unwrap();
    directory.write_tag(Tag::TileOffsets, vec![offset; count].as_slice()).unwrap();
    directory.write_tag(Tag::TileByteCounts, vec![tile.len() as u32; count].as_slice()).unwrap();
    if let Some(extra) = extra {
        directory.write_tag(Tag::ExtraSamples, extra).unwrap();
    }
    directory.finish().unwrap();
}

#[test]
fn slides_of_16_bits_and_with_alpha_are_read_tile_by_tile() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("deep.tif");
    let words: Vec<u8> = (0..TILE * TILE).flat_map(|i| ((i % TILE) as u16 * 257).to_le_bytes()).collect();
    save(&deep, &words, &[16], 1, None);
    let slide = slides::open(&deep, None).unwrap();
    assert_eq!(slide.facts().reader, "tiff");
    assert!(slide.facts().notes.iter().any(|note| note.contains("16-bit")), "{:?}", slide.facts().notes);
    let region = slide.read_region(0, 14, 0, 4, 1).unwrap();
    assert_eq!([region.at(0, 0), region.at(1, 0), region.at(2, 0)], [[14; 3], [15; 3], [0; 3]]);
    let clear = folder.path().join("clear.tif");
    let pixels: Vec<u8> = (0..TILE * TILE).flat_map(|i| [200, 100, 50, if i % 2 == 0 { 0 } else { 255 }]).collect();
    save(&clear, &pixels, &[8; 4], 2, Some(2));
    let slide = slides::open(&clear, None).unwrap();
    let region = slide.read_region(0, 0, 39, 2, 1).unwrap();
    assert_eq!((slide.facts().reader, region.at(0, 0), region.at(1, 0)), ("tiff", [255; 3], [200, 100, 50]));
}

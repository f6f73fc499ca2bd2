//! Rows of pixels to the compressed tiles of a pyramid and to rows of the level below.

use std::io::Write;

use flate2::Compression;

use super::pyramid::TILE;

/// The rounded means of 2 x 2 pixels; an odd last column stands for its missing neighbour.
pub fn halved(above: &[u8], below: &[u8], samples: usize) -> Vec<u8> {
    let width = above.len() / samples;
    let mut row = Vec::with_capacity(width.div_ceil(2) * samples);
    for x in (0..width).step_by(2) {
        for c in 0..samples {
            let (left, right) = (x * samples + c, (x + 1).min(width - 1) * samples + c);
            let sum: u16 = [above[left], above[right], below[left], below[right]].into_iter().map(u16::from).sum();
            row.push(((sum + 2) / 4) as u8);
        }
    }
    row
}

/// One tile of a row of tiles.
pub fn tile(rows: &[u8], width: usize, samples: usize, column: usize) -> Vec<u8> {
    let (bytes, height) = (width * samples, rows.len() / (width * samples));
    let (from, to) = (column * TILE * samples, ((column + 1) * TILE).min(width) * samples);
    let mut tile = Vec::with_capacity(TILE * TILE * samples);
    for y in 0..TILE {
        let row = &rows[y.min(height - 1) * bytes..][from..to];
        tile.extend_from_slice(row);
        for _ in (to - from) / samples..TILE {
            tile.extend_from_slice(&row[row.len() - samples..]);
        }
    }
    tile
}

/// One tile in the deflate form.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::new(3));
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("writing into memory does not fail")
}

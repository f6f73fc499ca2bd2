//! Scale, bounds, background and block size of a slide, from OpenSlide's properties.

use std::collections::BTreeMap;

use crate::mpp::{self, Mpp, MppSource};
use crate::{Bounds, WHITE};

/// Minimum side of a block in pixels.
const MIN_BLOCK: u64 = 256;
/// Maximum side of a file tile that determines the block, in pixels.
const MAX_BLOCK: u64 = 2048;
/// Side of the blocks of levels without tiles or with larger ones, in pixels.
const LARGE_BLOCK: u64 = 512;

/// Returns the scales in the properties, the most trusted first.
pub fn scales(properties: &BTreeMap<String, String>) -> Vec<Mpp> {
    let number = |key: &str| properties.get(key).and_then(|value| mpp::parse(value));
    let both = |x: &str, y: &str, source| number(x).zip(number(y)).map(|(x, y)| Mpp { x, y, source });
    let um_per_unit = match properties.get("tiff.ResolutionUnit").map(String::as_str) {
        Some("inch") => Some(25_400.0),
        Some("centimeter") => Some(10_000.0),
        _ => None,
    };
    let resolution = both("tiff.XResolution", "tiff.YResolution", MppSource::TiffResolution);
    let resolution = resolution.zip(um_per_unit).map(|(mpp, um)| Mpp { x: um / mpp.x, y: um / mpp.y, ..mpp });
    let vendor = both("aperio.MPP", "aperio.MPP", MppSource::Vendor);
    let openslide = both("openslide.mpp-x", "openslide.mpp-y", MppSource::OpenSlide);
    [openslide, vendor, resolution].into_iter().flatten().collect()
}

/// Returns the scanned part in level-0 pixels; `None` if the properties do not state it.
pub fn bounds(properties: &BTreeMap<String, String>) -> Option<Bounds> {
    let number = |key: &str| properties.get(&format!("openslide.bounds-{key}"))?.parse::<i64>().ok();
    let (width, height) = (u64::try_from(number("width")?).ok()?, u64::try_from(number("height")?).ok()?);
    Some(Bounds { x: number("x")?, y: number("y")?, width, height })
}

/// Returns the colour of unscanned areas; white by default.
pub fn background(properties: &BTreeMap<String, String>) -> [u8; 3] {
    let hex = properties.get("openslide.background-color").and_then(|text| u32::from_str_radix(text, 16).ok());
    hex.map_or(WHITE, |rgb| [(rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8])
}

/// Returns columns and rows of the blocks of a level: multiples of the file's tiles, so that no file tile is decoded for two blocks.
pub fn block_size(properties: &BTreeMap<String, String>, level: usize) -> [u64; 2] {
    ["width", "height"].map(|side| {
        let tile = properties.get(&format!("openslide.level[{level}].tile-{side}")).and_then(|value| value.parse().ok()).unwrap_or(0);
        if (1..=MAX_BLOCK).contains(&tile) { tile * MIN_BLOCK.div_ceil(tile) } else { LARGE_BLOCK }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_multiples_of_file_tiles() {
        let properties = |width: &str, height: &str| {
            BTreeMap::from([
                ("openslide.level[0].tile-width".to_owned(), width.to_owned()),
                ("openslide.level[0].tile-height".to_owned(), height.to_owned()),
            ])
        };
        assert_eq!(block_size(&properties("240", "240"), 0), [480, 480]);
        assert_eq!(block_size(&properties("2048", "8"), 0), [2048, 256]);
        assert_eq!(block_size(&properties("40000", "0"), 0), [512, 512]);
        assert_eq!(block_size(&BTreeMap::new(), 3), [512, 512]);
    }
}

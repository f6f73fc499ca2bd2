//! Slide whose regions are assembled from tiles; tiles are decoded in parallel and cached, and lost tiles are listed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;
use support::Result;

use super::{Facts, LostTile, Rgb, Slide};
use crate::cache::{TileCache, TileKey};

/// Size of the tile cache in bytes: two rows of 256 px tiles over a slide of 100,000 columns.
const CACHE_BYTES: usize = 160 << 20;

/// Decoder of single tiles. Tiles at the right and lower border may reach beyond the level.
pub trait TileSource: Send + Sync {
    /// Returns the columns and rows of the tiles of a level.
    fn tile_size(&self, level: usize) -> [u64; 2];
    /// Decodes one tile of at most [`TileSource::tile_size`]; `None` if the file leaves it out, because it is background.
    fn decode(&self, key: TileKey) -> Result<Option<Rgb>>;
}

/// Slide whose tiles come from a [`TileSource`].
pub struct TiledSlide<S> {
    facts: Facts,
    source: S,
    cache: TileCache,
    /// Tiles that could not be decoded, with the text of the error.
    lost: Mutex<BTreeMap<TileKey, String>>,
}

impl<S: TileSource> TiledSlide<S> {
    /// Creates a slide with an empty tile cache.
    pub fn new(facts: Facts, source: S) -> Self {
        Self { facts, source, cache: TileCache::new(CACHE_BYTES), lost: Mutex::default() }
    }

    /// Returns a tile from the cache or from the source; a lost tile as background.
    fn tile(&self, key: TileKey) -> Arc<Rgb> {
        if let Some(tile) = self.cache.get(key) {
            return tile;
        }
        let decoded = self.source.decode(key).unwrap_or_else(|error| {
            tracing::debug!("level {} tile column {} row {} is read as background: {error}", key.0, key.1, key.2);
            self.lost.lock().expect("no panic while noting lost tiles").insert(key, error.to_string());
            None
        });
        let tile = Arc::new(decoded.unwrap_or_else(|| {
            let [width, height] = self.source.tile_size(key.0);
            Rgb::filled(width as usize, height as usize, self.facts.background)
        }));
        self.cache.put(key, tile.clone());
        tile
    }

    /// Returns the keys of the tiles that intersect a region of a level.
    fn keys(&self, level: usize, x: i64, y: i64, width: usize, height: usize) -> Vec<TileKey> {
        let [tile_width, tile_height] = self.source.tile_size(level);
        let size = &self.facts.levels[level];
        let span = |from: i64, length: usize, limit: u64, tile: u64| {
            let (first, end) = (from.clamp(0, limit as i64) as u64, (from + length as i64).clamp(0, limit as i64) as u64);
            if first < end { first / tile..end.div_ceil(tile) } else { 0..0 }
        };
        let columns = span(x, width, size.width, tile_width);
        span(y, height, size.height, tile_height).flat_map(|row| columns.clone().map(move |column| (level, column, row))).collect()
    }
}

impl<S: TileSource> Slide for TiledSlide<S> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn read_region(&self, level: usize, x: i64, y: i64, width: usize, height: usize) -> Result<Rgb> {
        let [tile_width, tile_height] = self.source.tile_size(level);
        let keys = self.keys(level, x, y, width, height);
        let tiles: Vec<Arc<Rgb>> = keys.par_iter().map(|&key| self.tile(key)).collect();
        let mut region = Rgb::filled(width, height, self.facts.background);
        for ((_, column, row), tile) in keys.into_iter().zip(tiles) {
            region.paste(&tile, (column * tile_width) as i64 - x, (row * tile_height) as i64 - y);
        }
        clear_outside(&mut region, self.facts.background, &self.facts.levels[level], x, y);
        Ok(region)
    }

    fn lost_tiles(&self) -> Vec<LostTile> {
        let lost = self.lost.lock().expect("no panic while noting lost tiles");
        let mut tiles: Vec<_> = lost.iter().map(|(&(level, column, row), reason)| ((level, row, column), reason)).collect();
        tiles.sort();
        tiles
            .into_iter()
            .map(|((level, row, column), reason)| {
                let ([width, height], size) = (self.source.tile_size(level), &self.facts.levels[level]);
                let (x, y) = (column * width, row * height);
                LostTile { level, x, y, width: width.min(size.width - x), height: height.min(size.height - y), reason: reason.clone() }
            })
            .collect()
    }
}

/// Fills pixels outside the level with the background, because border tiles contain padding there.
fn clear_outside(region: &mut Rgb, background: [u8; 3], level: &super::Level, x: i64, y: i64) {
    let columns = (level.width as i64 - x).clamp(0, region.width as i64) as usize;
    let rows = (level.height as i64 - y).clamp(0, region.height as i64) as usize;
    for row in 0..region.height {
        let first = if row < rows { columns } else { 0 };
        let start = row * region.width;
        let outside = &mut region.data[(start + first) * 3..(start + region.width) * 3];
        outside.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&background));
    }
}

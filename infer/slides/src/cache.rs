//! Least-recently-used cache of decoded tiles, bounded in bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use super::Rgb;

/// Key of a tile: level, and column and row in the tile grid of that level.
pub type TileKey = (usize, u64, u64);

/// Cache of decoded tiles that evicts the least recently used tile first. The contents of the cache never change the pixels that are read.
pub struct TileCache {
    limit_bytes: usize,
    state: Mutex<State>,
}

/// Tiles with the time of their last use, which is a count of accesses.
#[derive(Default)]
struct State {
    tiles: HashMap<TileKey, (u64, Arc<Rgb>)>,
    key_by_last_use: BTreeMap<u64, TileKey>,
    clock: u64,
    bytes: usize,
}

impl TileCache {
    /// Creates a cache that holds at most `limit_bytes` of pixels.
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, state: Mutex::default() }
    }

    /// Returns a cached tile and marks it as the most recently used.
    pub fn get(&self, key: TileKey) -> Option<Arc<Rgb>> {
        let mut state = self.state.lock().expect("no panic while caching");
        let (last_use, tile) = state.tiles.get(&key).cloned()?;
        state.clock += 1;
        let now = state.clock;
        state.key_by_last_use.remove(&last_use);
        state.key_by_last_use.insert(now, key);
        state.tiles.insert(key, (now, tile.clone()));
        Some(tile)
    }

    /// Inserts a tile and evicts old tiles beyond the limit. A tile larger than the limit is not cached.
    pub fn put(&self, key: TileKey, tile: Arc<Rgb>) {
        let mut state = self.state.lock().expect("no panic while caching");
        if tile.data.len() > self.limit_bytes || state.tiles.contains_key(&key) {
            return;
        }
        state.clock += 1;
        let now = state.clock;
        state.bytes += tile.data.len();
        state.key_by_last_use.insert(now, key);
        state.tiles.insert(key, (now, tile));
        while state.bytes > self.limit_bytes {
            let Some((_, oldest)) = state.key_by_last_use.pop_first() else { break };
            if let Some((_, tile)) = state.tiles.remove(&oldest) {
                state.bytes -= tile.data.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_tile_is_evicted_first() {
        let cache = TileCache::new(2 * 12);
        let tile = || Arc::new(Rgb::filled(2, 2, [1; 3]));
        cache.put((0, 0, 0), tile());
        cache.put((0, 1, 0), tile());
        assert!(cache.get((0, 0, 0)).is_some());
        cache.put((0, 2, 0), tile());
        assert!(cache.get((0, 1, 0)).is_none());
        assert!(cache.get((0, 0, 0)).is_some() && cache.get((0, 2, 0)).is_some());
    }
}

//! The tiles decoded last, bounded by bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use super::Rgb;

/// Level, column and row of a tile in its level's grid.
pub type TileKey = (usize, u64, u64);

/// Decoded tiles, least recently used dropped first. Which tiles it holds never changes what is read.
pub struct TileCache {
    limit_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tiles: HashMap<TileKey, (u64, Arc<Rgb>)>,
    key_by_age: BTreeMap<u64, TileKey>,
    clock: u64,
    bytes: usize,
}

impl TileCache {
    /// A cache that holds at most `limit_bytes` of pixels.
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, state: Mutex::default() }
    }

    /// The tile, if it is here.
    pub fn get(&self, key: TileKey) -> Option<Arc<Rgb>> {
        let mut state = self.state.lock().expect("no panic while caching");
        let (age, tile) = state.tiles.get(&key).cloned()?;
        state.clock += 1;
        let now = state.clock;
        state.key_by_age.remove(&age);
        state.key_by_age.insert(now, key);
        state.tiles.insert(key, (now, tile.clone()));
        Some(tile)
    }

    /// Keeps a tile, dropping old ones where there is no room.
    pub fn put(&self, key: TileKey, tile: Arc<Rgb>) {
        let mut state = self.state.lock().expect("no panic while caching");
        if tile.data.len() > self.limit_bytes || state.tiles.contains_key(&key) {
            return;
        }
        state.clock += 1;
        let now = state.clock;
        state.bytes += tile.data.len();
        state.key_by_age.insert(now, key);
        state.tiles.insert(key, (now, tile));
        while state.bytes > self.limit_bytes {
            let Some((_, oldest)) = state.key_by_age.pop_first() else { break };
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
    fn the_least_recently_used_tile_goes_first() {
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

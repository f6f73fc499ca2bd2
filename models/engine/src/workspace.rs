//! Memory that is reused from block to block and from image to image: a pool of buffers and a cache of gather tables.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kernels::Pool;
use kernels::gather::GatherTable;
use kernels::geometry::Geometry;

/// Capacity of the gather-table cache; the cache is cleared when it is exceeded.
const MAX_TABLES: usize = 64;

/// Buffer pool and gather tables of one engine.
pub struct Workspace {
    pub(super) pool: Pool,
    tables: Mutex<HashMap<Geometry, Arc<GatherTable>>>,
    /// Image pixels of the largest block so far.
    max_block_pixels: usize,
}

impl Workspace {
    /// Returns a workspace without buffers and tables.
    pub fn new() -> Self {
        Self { pool: Pool::new(), tables: Mutex::default(), max_block_pixels: 0 }
    }

    /// Sizes the buffer pool for blocks of `pixels` image pixels.
    pub fn prepare(&mut self, pixels: usize) {
        self.max_block_pixels = self.max_block_pixels.max(pixels);
        self.pool.expect_shorter(self.max_block_pixels as f32 / pixels.max(1) as f32);
    }

    /// Returns the gather table of a convolution, computed at its first use.
    pub fn table(&self, geometry: Geometry) -> Arc<GatherTable> {
        let mut tables = self.tables.lock().expect("no panic while a table is computed");
        if tables.len() >= MAX_TABLES && !tables.contains_key(&geometry) {
            tables.clear();
        }
        tables.entry(geometry).or_insert_with(|| Arc::new(geometry.forward_table())).clone()
    }
}

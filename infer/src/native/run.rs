//! A [`Program`] on an image, some columns after the other.
//!
//! Each turn takes some more columns of the image; every step then makes the columns of its map that have become possible, and what
//! nobody will read again is forgotten. So a band of a slide needs the memory of some columns, however long it is, and no column is
//! computed twice. Kernels see rows and columns exchanged (see `turned`): what is a column here is a row in memory.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use kernels::gather::Class;
use kernels::geometry::Geometry;
use kernels::{Pool, sigmoid};

use super::program::{Program, Step, Work};
use super::reach::Reach;
use super::slab::Slab;
use super::turned;

/// Pixels of the image that a turn takes, about: kernels are at their best, and a turn's maps take some 300 MB at full width.
const PIXELS: usize = 1 << 20;
/// Columns that a turn takes are a multiple of this: whole tiles of kernels at a stride of 32.
const COLUMNS: usize = 128;

/// What is kept from one image to the next: memory, and tables of places by the sizes of maps.
pub struct Room {
    pub(super) pool: Pool,
    tables: HashMap<Geometry, Arc<Class>>,
    /// Pixels of the largest turns so far.
    largest: usize,
}

/// Tables that are kept; images of more sizes than that take turns.
const TABLES: usize = 64;

impl Room {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { pool: Pool::new(), tables: HashMap::new(), largest: 0 }
    }

    /// The next turns have so many pixels.
    fn prepare(&mut self, pixels: usize) {
        self.largest = self.largest.max(pixels);
        self.pool.expect_shorter(self.largest as f32 / pixels.max(1) as f32);
    }

    pub(super) fn table(&mut self, geometry: Geometry) -> Arc<Class> {
        if self.tables.len() >= TABLES && !self.tables.contains_key(&geometry) {
            self.tables.clear();
        }
        self.tables.entry(geometry).or_insert_with(|| Arc::new(geometry.forward_class())).clone()
    }
}

/// Columns of an image of this size that a turn takes.
pub fn columns_at_once(height: usize, width: usize) -> usize {
    let columns = (PIXELS / height).next_multiple_of(COLUMNS);
    // What is little more is done at once.
    if width <= columns + columns / 2 { width } else { columns }
}

/// Columns and rows of a map in the orientation of the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub columns: usize,
    pub rows: usize,
}

impl Program {
    /// Probabilities of an image of `width` columns, whose extents are multiples of the network's stride: columns from left to right, as
    /// they become known, with the number of the first; `[column][row]`. Each turn takes `at_once` columns.
    pub fn run(&self, image: &[u8], width: usize, at_once: usize, room: &mut Room, mut found: impl FnMut(usize, &[f32])) {
        let size = Extent { columns: width, rows: image.len() / 3 / width };
        room.prepare(at_once * size.rows);
        let extents = self.extents(size);
        let mut maps: Vec<Slab> = (0..self.values).map(|_| Slab::new(0)).collect();
        for step in &self.steps {
            maps[step.value] = Slab::new(extents[step.value].rows * step.width);
        }
        let last = self.steps.last().expect("a program computes something");
        while maps[self.logit].end() < width {
            let before: usize = maps.iter().map(Slab::end).sum();
            for (index, step) in self.steps.iter().enumerate() {
                let columns = self.possible(step, &maps, &extents, at_once, size);
                if !columns.is_empty() {
                    self.advance(step, columns.clone(), image, &extents, &mut maps, room);
                }
                if step.value == self.logit {
                    let rows = extents[self.logit].rows;
                    let mut values = room.pool.take(columns.len() * rows);
                    turned::only_channel(maps[self.logit].get(columns.clone()), last.width, &mut values);
                    sigmoid::sigmoid(self.isa, &mut values);
                    found(columns.start, &values);
                    room.pool.give(values);
                    maps[self.logit].keep_from(&room.pool, columns.end);
                }
                self.forget(index, &mut maps, &extents, room);
            }
            assert!(maps.iter().map(Slab::end).sum::<usize>() > before, "a turn that brings nothing");
        }
        maps.iter_mut().for_each(|map| map.clear(&room.pool));
    }

    /// Columns and rows of every value's map.
    fn extents(&self, image: Extent) -> Vec<Extent> {
        let mut extents = vec![Extent::default(); self.values];
        for step in &self.steps {
            extents[step.value] = match step.sources.first() {
                None => image,
                Some(source) => {
                    let (of, Reach { stride, halved, .. }) = (extents[source.value], Reach::of(step, source));
                    let along = |n: usize| (n << usize::from(halved)).div_ceil(stride);
                    Extent { columns: along(of.columns), rows: along(of.rows) }
                }
            };
        }
        extents
    }

    /// The columns that a step can make now, no more than in the long run.
    fn possible(&self, step: &Step, maps: &[Slab], extents: &[Extent], at_once: usize, image: Extent) -> Range<usize> {
        let (done, all) = (maps[step.value].end(), extents[step.value].columns);
        let most = (at_once * all).div_ceil(image.columns).next_multiple_of(2);
        let reads = step.sources.iter().map(|source| (source.value, Reach::of(step, source)));
        let until = |(value, reach): (usize, Reach)| reach.until(maps[value].end(), extents[value].columns, all);
        let end = reads.chain(step.plus.map(|plus| (plus, Reach::SAME))).map(until).min().unwrap_or(all);
        done..end.min(done + most).max(done)
    }

    fn advance(&self, step: &Step, columns: Range<usize>, image: &[u8], extents: &[Extent], maps: &mut [Slab], room: &mut Room) {
        let mut own = std::mem::replace(&mut maps[step.value], Slab::new(0));
        let out = own.extend(&room.pool, columns.len());
        match &step.work {
            Work::Image { mean, scale } => {
                turned::columns(image, extents[step.value].columns, columns.start, [*mean, *scale], step.width, out);
            }
            work => self.step(step, work, &columns, maps, extents, room, out),
        }
        maps[step.value] = own;
    }

    /// Of values whose last reader in this turn was step `index`, columns that no step will read again.
    fn forget(&self, index: usize, maps: &mut [Slab], extents: &[Extent], room: &Room) {
        for &value in &self.steps[index].ends {
            let mut first = usize::MAX;
            for step in &self.steps {
                let next = maps[step.value].end();
                let sources = step.sources.iter().filter(|source| source.value == value).map(|source| Reach::of(step, source));
                for reach in sources.chain((step.plus == Some(value)).then_some(Reach::SAME)) {
                    let is_done = next == extents[step.value].columns;
                    let wanted = if is_done { usize::MAX } else { reach.reads(&(next..next), extents[value].columns).0.start };
                    first = first.min(wanted);
                }
            }
            maps[value].keep_from(&room.pool, first);
        }
    }
}

//! A [`Program`] on an image, some columns after the other.
//!
//! Each turn takes some more columns of the image; every step then makes the columns of its map that have become possible, and what
//! nobody will read again is forgotten. So a band of a slide needs the memory of some columns, however long it is, and no column is
//! computed twice. Kernels see rows and columns exchanged (see `transposed`): what is a column here is a row in memory.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use kernels::gather::GatherTable;
use kernels::geometry::Geometry;
use kernels::{Pool, sigmoid};

use super::program::{Program, Step, Work};
use super::reach::Reach;
use super::row_ring::RowRing;
use super::step::Reads;
use super::transposed;

/// Pixels of the image that a turn takes, about. With twice as many, networks of full width are some per cent faster and take 200 MB more.
const PIXELS: usize = 1 << 19;
/// Columns that a turn takes are a multiple of this: whole tiles of kernels at a stride of 32.
const COLUMNS: usize = 128;

/// What is kept from one image to the next: memory, and tables of places by the sizes of maps.
pub struct Workspace {
    pub(super) pool: Pool,
    tables: Mutex<HashMap<Geometry, Arc<GatherTable>>>,
    /// Pixels of the largest turns so far.
    largest: usize,
}

/// Tables that are kept; images of more sizes than that take turns.
const TABLES: usize = 64;

impl Workspace {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { pool: Pool::new(), tables: Mutex::default(), largest: 0 }
    }

    /// The next turns have so many pixels.
    fn prepare(&mut self, pixels: usize) {
        self.largest = self.largest.max(pixels);
        self.pool.expect_shorter(self.largest as f32 / pixels.max(1) as f32);
    }

    pub(super) fn table(&self, geometry: Geometry) -> Arc<GatherTable> {
        let mut tables = self.tables.lock().expect("no panic while tables are made");
        if tables.len() >= TABLES && !tables.contains_key(&geometry) {
            tables.clear();
        }
        tables.entry(geometry).or_insert_with(|| Arc::new(geometry.forward_table())).clone()
    }
}

/// Columns of an image of this size that a turn takes.
pub fn columns_per_block(height: usize, width: usize) -> usize {
    let columns = (PIXELS / height / COLUMNS * COLUMNS).max(COLUMNS);
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
    pub fn run(&self, image: &[u8], width: usize, at_once: usize, workspace: &mut Workspace, mut found: impl FnMut(usize, &[f32])) {
        let size = Extent { columns: width, rows: image.len() / 3 / width };
        workspace.prepare(at_once * size.rows);
        let mut run = Run::new(self, image, size, at_once);
        while run.maps[self.logit].end() < width {
            for (index, step) in self.steps.iter().enumerate() {
                let columns = run.possible(step, &|value| run.maps[value].end());
                if !columns.is_empty() {
                    run.advance(step, columns.clone(), workspace);
                }
                if step.value == self.logit {
                    run.emit(step, columns, workspace, &mut found);
                }
                run.forget(index, &workspace.pool);
            }
        }
        run.maps.iter_mut().for_each(|map| map.clear(&workspace.pool));
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
}

/// An image on its way.
struct Run<'a> {
    program: &'a Program,
    image: &'a [u8],
    extents: Vec<Extent>,
    /// By value: columns that a turn makes at most, that many in the long run.
    most: Vec<usize>,
    maps: Vec<RowRing>,
    /// By value: columns that are kept from one turn to the next at most.
    kept: Vec<usize>,
}

impl<'a> Run<'a> {
    fn new(program: &'a Program, image: &'a [u8], size: Extent, at_once: usize) -> Self {
        let extents = program.extents(size);
        let most = extents.iter().map(|extent| (at_once * extent.columns).div_ceil(size.columns).next_multiple_of(4)).collect();
        let maps = extents.iter().zip(&program.widths).map(|(extent, width)| RowRing::new(extent.rows * width)).collect();
        let mut run = Self { program, image, extents, most, maps, kept: vec![0; program.values] };
        run.kept = run.dry_run();
        run
    }

    /// What is kept of each map: all turns, without a value.
    ///
    /// # Panics
    /// If a turn brings nothing: it would go on for ever.
    fn dry_run(&self) -> Vec<usize> {
        let mut rows = vec![0..0; self.program.values];
        let mut kept = vec![0; rows.len()];
        while rows[self.program.logit].end < self.extents[self.program.logit].columns {
            let before: usize = rows.iter().map(|rows| rows.end).sum();
            for (index, step) in self.program.steps.iter().enumerate() {
                let ends = |value: usize| rows[value].end;
                rows[step.value].end = self.possible(step, &ends).end;
                for &value in &self.program.steps[index].ends {
                    rows[value].start = self.first_needed(value, &|value| rows[value].end).min(rows[value].end);
                    kept[value] = kept[value].max(rows[value].len());
                }
            }
            assert!(rows.iter().map(|rows| rows.end).sum::<usize>() > before, "a turn that brings nothing");
        }
        kept
    }

    /// The columns that a step can make now, when `ends` are those that there are of each map.
    fn possible(&self, step: &Step, ends: &dyn Fn(usize) -> usize) -> Range<usize> {
        let (done, all) = (ends(step.value), self.extents[step.value].columns);
        let until = |(value, reach): (usize, Reach)| reach.until(ends(value), self.extents[value].columns, all);
        let end = step.reads().map(until).min().unwrap_or(all);
        done..end.min(done + self.most[step.value]).max(done)
    }

    fn advance(&mut self, step: &Step, columns: Range<usize>, workspace: &Workspace) {
        let mut own = std::mem::replace(&mut self.maps[step.value], RowRing::new(0));
        let width = self.extents[step.value].columns;
        own.reserve(&workspace.pool, self.kept[step.value], self.most[step.value].min(width.next_multiple_of(4)));
        let row = self.extents[step.value].rows * step.width;
        while own.end() < columns.end {
            let first = own.end();
            let out = own.extend(columns.end - first);
            let columns = first..first + out.len() / row;
            match &step.work {
                Work::Image { mean, scale } => transposed::columns(self.image, width, first, [*mean, *scale], step.width, out),
                work => self.program.step(work, &Reads { step, rows: &columns, maps: &self.maps, extents: &self.extents }, workspace, out),
            }
        }
        self.maps[step.value] = own;
    }

    /// The logit's new columns as probabilities.
    fn emit(&mut self, step: &Step, columns: Range<usize>, workspace: &Workspace, found: &mut impl FnMut(usize, &[f32])) {
        let logits = self.maps[step.value].get(&workspace.pool, columns.clone());
        let mut values = workspace.pool.take(logits.len() / step.width);
        // Behind a map's one channel there may be zeros.
        values.iter_mut().zip(logits.iter().step_by(step.width)).for_each(|(out, value)| *out = *value);
        sigmoid::sigmoid(self.program.isa, &mut values);
        found(columns.start, &values);
        workspace.pool.give(values);
        drop(logits);
        self.maps[step.value].keep_from(&workspace.pool, columns.end);
    }

    /// Of values whose last reader in this turn was step `index`, columns that no step will read again.
    fn forget(&mut self, index: usize, pool: &Pool) {
        for &value in &self.program.steps[index].ends {
            let first = self.first_needed(value, &|value| self.maps[value].end());
            self.maps[value].keep_from(pool, first);
        }
    }

    /// The first column of a map that a step will still read, when `ends` are those that there are of each map.
    fn first_needed(&self, value: usize, ends: &dyn Fn(usize) -> usize) -> usize {
        let of = |step: &Step| {
            let next = ends(step.value);
            let is_done = next == self.extents[step.value].columns;
            let reads = step.reads().filter(|(read, _)| *read == value && !is_done);
            reads.map(|(_, reach)| reach.reads(&(next..next), self.extents[value].columns).0.start).min()
        };
        self.program.steps.iter().filter_map(of).min().unwrap_or(usize::MAX)
    }
}

//! The stream: rows of quantised probabilities in, finished nuclei out.

use std::collections::BTreeMap;

use models::decode::Decoding;

use super::boundary::{filled, rings};
use super::open::{Component, OpenComponents};
use super::runs::{Run, contains, of_row};
use super::{Instance, Ring};

/// What a band of rows finished.
#[derive(Debug, Default)]
pub struct Harvest {
    /// Nuclei, ids ascending.
    pub instances: Vec<Instance>,
    /// No later nucleus has a pixel above this row.
    pub settled_rows: u32,
    /// Rows taken so far.
    pub rows_taken: u32,
}

/// Finds the nuclei of one image, row by row.
pub struct Extractor {
    width: usize,
    height: u32,
    level: u8,
    decoding: Decoding,
    open: OpenComponents,
    /// Finished components that an open one may enclose, by their number.
    pending: BTreeMap<u64, Pending>,
    components_finished: u64,
    instances_found: u64,
    row: u32,
}

struct Pending {
    instance: Instance,
    /// Open components that may enclose it.
    enclosing: usize,
}

impl Extractor {
    /// For an image of `width * height` pixels.
    pub fn new(width: usize, height: usize, decoding: &Decoding) -> Self {
        Self {
            width,
            height: height as u32,
            level: decoding.first_foreground_level(),
            decoding: decoding.clone(),
            open: OpenComponents::default(),
            pending: BTreeMap::new(),
            components_finished: 0,
            instances_found: 0,
            row: 0,
        }
    }

    /// Takes the next rows, `n * width` values `round(255 p)`.
    pub fn push(&mut self, rows: &[u8]) -> Harvest {
        assert_eq!(rows.len() % self.width, 0, "rows are taken whole");
        let mut found = Vec::new();
        let mut runs = Vec::new();
        for row in rows.chunks_exact(self.width) {
            runs.clear();
            of_row(self.row, row, self.level, |run, sum| runs.push((run, sum)));
            self.open.push_row(&runs);
            self.finish_row(&mut found);
            self.row += 1;
        }
        Harvest { instances: found, settled_rows: self.settled_rows(), rows_taken: self.row }
    }

    /// Ends the image.
    pub fn finish(mut self) -> Harvest {
        assert_eq!(self.row, self.height, "the image ends after its last row");
        let mut found = Vec::new();
        self.open.push_row(&[]);
        self.finish_row(&mut found);
        assert!(self.pending.is_empty(), "no component is open, so none can enclose another");
        Harvest { instances: found, settled_rows: self.height, rows_taken: self.height }
    }

    /// A pending component begins below an open one that may enclose it, so the open ones tell.
    fn settled_rows(&self) -> u32 {
        self.open.top().unwrap_or(self.row)
    }

    fn finish_row(&mut self, found: &mut Vec<Instance>) {
        for (component, enclosing) in self.open.finish_row() {
            self.components_finished += 1;
            let waiting = component.waiting.clone();
            let instance = self.instance(component);
            self.release(&waiting, instance.as_ref(), found);
            let Some(instance) = instance else { continue };
            if !self.decoding.fill_holes || enclosing.is_empty() {
                self.emit(instance, found);
            } else {
                let number = self.components_finished;
                for &slot in &enclosing {
                    self.open.component(slot).waiting.push(number);
                }
                self.pending.insert(number, Pending { instance, enclosing: enclosing.len() });
            }
        }
    }

    /// One component that might have enclosed those that wait has ended: as `around`, or dropped.
    fn release(&mut self, waiting: &[u64], around: Option<&Instance>, found: &mut Vec<Instance>) {
        for number in waiting {
            let Some(pending) = self.pending.get_mut(number) else { continue };
            let first = pending.instance.runs[0];
            pending.enclosing -= 1;
            if around.is_some_and(|around| contains(&around.runs, first.x0, first.y)) {
                self.pending.remove(number);
            } else if pending.enclosing == 0 {
                let free = self.pending.remove(number).expect("it was found above");
                self.emit(free.instance, found);
            }
        }
    }

    fn emit(&mut self, mut instance: Instance, found: &mut Vec<Instance>) {
        self.instances_found += 1;
        instance.id = self.instances_found;
        found.push(instance);
    }

    /// The component as an instance without id; `None`: it is too small.
    fn instance(&self, component: Component) -> Option<Instance> {
        let mut runs = component.runs;
        let foreground_px: u64 = runs.iter().map(Run::length).sum();
        if foreground_px < self.decoding.min_area_px as u64 {
            return None;
        }
        runs.sort_unstable();
        let mut boundary: Vec<Ring> = rings(&runs);
        if self.decoding.fill_holes && boundary.len() > 1 {
            runs = filled(&runs);
            boundary = rings(&runs);
        }
        let at_border = |run: &Run| run.y == 0 || run.y + 1 == self.height || run.x0 == 0 || run.x1 as usize == self.width;
        let touches_border = runs.iter().any(at_border);
        Some(Instance { id: 0, runs, rings: boundary, foreground_px, probability_sum: component.probability_sum, touches_border })
    }
}

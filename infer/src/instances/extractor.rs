//! The stream: rows of quantised probabilities in, finished nuclei out.

use std::collections::BTreeMap;

use models::decode::Decoding;

use super::Instance;
use super::nuclei::Nuclei;
use super::open::OpenComponents;
use super::runs::{contains, of_row};

/// What a band of rows finished.
#[derive(Debug, Default)]
pub struct FinishedInstances {
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
    nuclei: Nuclei,
    open: OpenComponents,
    /// Finished components that an open one may enclose, by their number.
    pending: BTreeMap<u64, Pending>,
    components_finished: u64,
    instances_found: u64,
    row: u32,
}

struct Pending {
    /// Its nuclei, at least one.
    instances: Vec<Instance>,
    /// Open components that may enclose them.
    enclosing: usize,
}

impl Extractor {
    /// For an image of `width * height` pixels.
    pub fn new(width: usize, height: usize, decoding: &Decoding) -> Self {
        Self {
            width,
            height: height as u32,
            level: decoding.first_foreground_level(),
            nuclei: Nuclei { decoding: decoding.clone(), width: width as u32, height: height as u32 },
            open: OpenComponents::new(decoding.split.is_some()),
            pending: BTreeMap::new(),
            components_finished: 0,
            instances_found: 0,
            row: 0,
        }
    }

    /// Columns of the image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Takes the next rows, `n * width` values `round(255 p)`, and the colours of their pixels, three bytes each.
    pub fn push(&mut self, rows: &[u8], colours: &[u8]) -> FinishedInstances {
        assert_eq!((rows.len() % self.width, colours.len()), (0, 3 * rows.len()), "rows are taken whole, with their colours");
        let mut found = Vec::new();
        let mut runs = Vec::new();
        for (row, colours) in rows.chunks_exact(self.width).zip(colours.chunks_exact(3 * self.width)) {
            runs.clear();
            of_row(self.row, row, self.level, |run| runs.push(run));
            self.open.push_row(&runs, row, colours);
            self.finish_row(&mut found);
            self.row += 1;
        }
        FinishedInstances { instances: found, settled_rows: self.settled_rows(), rows_taken: self.row }
    }

    /// Ends the image.
    pub fn finish(mut self) -> FinishedInstances {
        assert_eq!(self.row, self.height, "the image ends after its last row");
        let mut found = Vec::new();
        self.open.push_row(&[], &[], &[]);
        self.finish_row(&mut found);
        assert!(self.pending.is_empty(), "no component is open, so none can enclose another");
        FinishedInstances { instances: found, settled_rows: self.height, rows_taken: self.height }
    }

    /// A pending component begins below an open one that may enclose it, so the open ones tell.
    fn settled_rows(&self) -> u32 {
        self.open.top().unwrap_or(self.row)
    }

    fn finish_row(&mut self, found: &mut Vec<Instance>) {
        for (component, enclosing) in self.open.finish_row() {
            self.components_finished += 1;
            let waiting = component.waiting.clone();
            let instances = self.nuclei.of(component);
            self.release(&waiting, &instances, found);
            if !self.nuclei.decoding.fill_holes || enclosing.is_empty() {
                self.emit(instances, found);
            } else if !instances.is_empty() {
                let number = self.components_finished;
                for &slot in &enclosing {
                    self.open.component(slot).waiting.push(number);
                }
                self.pending.insert(number, Pending { instances, enclosing: enclosing.len() });
            }
        }
    }

    /// One component that might have enclosed those that wait has ended: its nuclei are `around`.
    fn release(&mut self, waiting: &[u64], around: &[Instance], found: &mut Vec<Instance>) {
        for number in waiting {
            let Some(pending) = self.pending.get_mut(number) else { continue };
            let first = pending.instances[0].runs[0];
            pending.enclosing -= 1;
            if around.iter().any(|around| contains(&around.runs, first.x0, first.y)) {
                self.pending.remove(number);
            } else if pending.enclosing == 0 {
                let free = self.pending.remove(number).expect("it was found above");
                self.emit(free.instances, found);
            }
        }
    }

    fn emit(&mut self, instances: Vec<Instance>, found: &mut Vec<Instance>) {
        for mut instance in instances {
            self.instances_found += 1;
            instance.id = self.instances_found;
            found.push(instance);
        }
    }
}

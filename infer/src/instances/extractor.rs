//! Streaming extractor: rows of quantised probabilities in, finished nuclei out.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::decode::Decoding;

use super::Instance;
use super::nuclei::ComponentDecoder;
use super::open::OpenComponents;
use super::runs::{contains, runs_of_row};
use super::shape::centroid;
use crate::tissue::drawn::Drawn;

/// Instances that some rows finished.
#[derive(Debug, Default)]
pub struct FinishedInstances {
    /// Nuclei in ascending order of their ids.
    pub instances: Vec<Instance>,
    /// First row in which a later nucleus can have a pixel.
    pub settled_rows: u32,
    /// Number of rows received so far.
    pub rows_taken: u32,
}

/// Extractor of the nuclei of one image.
pub struct Extractor {
    width: usize,
    height: u32,
    level: u8,
    decoder: ComponentDecoder,
    open: OpenComponents,
    /// Finished components that an open component may still enclose, by their number.
    pending: BTreeMap<u64, Pending>,
    finished_components: u64,
    emitted_instances: u64,
    row: u32,
    /// Region by which nuclei are kept.
    drawn: Option<Arc<Drawn>>,
}

/// Finished component whose nuclei may lie in a hole of an open component; such nuclei are dropped when the hole is filled.
struct Pending {
    /// Nuclei of the component, at least one.
    instances: Vec<Instance>,
    /// Number of open components that may enclose the component.
    enclosing: usize,
}

impl Extractor {
    /// Returns an extractor for an image of `width` columns and `height` rows.
    pub fn new(width: usize, height: usize, decoding: &Decoding) -> Self {
        Self {
            width,
            height: height as u32,
            level: decoding.first_foreground_level(),
            decoder: ComponentDecoder { decoding: decoding.clone(), width: width as u32, height: height as u32 },
            open: OpenComponents::new(decoding.split.is_some()),
            pending: BTreeMap::new(),
            finished_components: 0,
            emitted_instances: 0,
            row: 0,
            drawn: None,
        }
    }

    /// Keeps only nuclei whose centroid lies in `drawn`; `None` keeps all.
    #[must_use]
    pub fn within(self, drawn: Option<Arc<Drawn>>) -> Self {
        Self { drawn, ..self }
    }

    /// Returns the number of columns of the image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Receives the next rows: quantised probabilities `[row][column]` and their RGB pixels `[row][column][3]`.
    ///
    /// # Panics
    /// If the rows are not whole, or the number of pixels differs.
    pub fn push(&mut self, rows: &[u8], colours: &[u8]) -> FinishedInstances {
        assert_eq!((rows.len() % self.width, colours.len()), (0, 3 * rows.len()), "rows are whole and have their pixels");
        let mut finished = Vec::new();
        let mut runs = Vec::new();
        for (row, colours) in rows.chunks_exact(self.width).zip(colours.chunks_exact(3 * self.width)) {
            runs.clear();
            runs_of_row(self.row, row, self.level, |run| runs.push(run));
            self.open.push_row(&runs, row, colours);
            self.finish_row(&mut finished);
            self.row += 1;
        }
        FinishedInstances { instances: finished, settled_rows: self.settled_rows(), rows_taken: self.row }
    }

    /// Finishes the components of the last row.
    ///
    /// # Panics
    /// If rows of the image are missing.
    pub fn finish(mut self) -> FinishedInstances {
        assert_eq!(self.row, self.height, "the image ends after its last row");
        let mut finished = Vec::new();
        self.open.push_row(&[], &[], &[]);
        self.finish_row(&mut finished);
        assert!(self.pending.is_empty(), "no component is open, so none can enclose another");
        FinishedInstances { instances: finished, settled_rows: self.height, rows_taken: self.height }
    }

    /// Returns the first row of all open components. Pending components begin below an open component, so their rows do not count.
    fn settled_rows(&self) -> u32 {
        self.open.top().unwrap_or(self.row)
    }

    /// Decodes the components that the last row finished; emits their nuclei or keeps them pending.
    fn finish_row(&mut self, finished: &mut Vec<Instance>) {
        for (component, enclosing) in self.open.finish_row() {
            self.finished_components += 1;
            let pending_inside = component.pending_inside.clone();
            let instances = self.decoder.decode(component);
            self.release(&pending_inside, &instances, finished);
            if !self.decoder.decoding.fill_holes || enclosing.is_empty() {
                self.emit(instances, finished);
            } else if !instances.is_empty() {
                let number = self.finished_components;
                for &slot in &enclosing {
                    self.open.component(slot).pending_inside.push(number);
                }
                self.pending.insert(number, Pending { instances, enclosing: enclosing.len() });
            }
        }
    }

    /// Resolves pending components once a component that could enclose them is finished, whose nuclei are `candidates`.
    ///
    /// Enclosed pending components are dropped; components that no open component can enclose any more are emitted.
    fn release(&mut self, pending_inside: &[u64], candidates: &[Instance], finished: &mut Vec<Instance>) {
        for number in pending_inside {
            let Some(pending) = self.pending.get_mut(number) else { continue };
            let first = pending.instances[0].runs[0];
            pending.enclosing -= 1;
            if candidates.iter().any(|candidates| contains(&candidates.runs, first.x0, first.y)) {
                self.pending.remove(number);
            } else if pending.enclosing == 0 {
                let released = self.pending.remove(number).expect("it was looked up above");
                self.emit(released.instances, finished);
            }
        }
    }

    /// Numbers the instances of the drawn region and appends them to `finished`.
    fn emit(&mut self, instances: Vec<Instance>, finished: &mut Vec<Instance>) {
        let drawn = self.drawn.clone();
        let is_kept = |instance: &Instance| drawn.as_ref().is_none_or(|drawn| drawn.contains(centroid(instance)));
        for mut instance in instances.into_iter().filter(is_kept) {
            self.emitted_instances += 1;
            instance.id = self.emitted_instances;
            finished.push(instance);
        }
    }
}

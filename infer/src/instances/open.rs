//! Open components: connected components (8-connectivity) that the next row may still extend.

use models::colour::ColourSum;
use models::distance::LARGEST_BOX_PX;

use super::runs::Run;

/// Connected component, as far as rows have been received.
#[derive(Debug, Default)]
pub struct Component {
    /// Runs, unsorted.
    pub runs: Vec<Run>,
    /// Quantised probability, red, green and blue of every pixel, in the order of `runs`; `None` if the component will not be split.
    pub values: Option<Vec<[u8; 4]>>,
    /// Sum of the colours of the pixels.
    pub colour: ColourSum,
    /// Sum of the quantised probabilities of the pixels.
    pub probability_sum: u64,
    /// First row.
    pub top: u32,
    /// First column.
    pub left: u32,
    /// Column after the last.
    pub right: u32,
    /// Last row.
    pub last_row: u32,
    /// Numbers of finished components that may lie in a hole of this component.
    pub pending_inside: Vec<u64>,
}

impl Component {
    /// Adds a run with its probabilities and RGB pixels.
    fn add(&mut self, run: Run, values: &[u8], colours: &[u8]) {
        if self.runs.is_empty() {
            (self.top, self.left, self.right) = (run.y, run.x0, run.x1);
        }
        self.left = self.left.min(run.x0);
        self.right = self.right.max(run.x1);
        self.last_row = run.y;
        self.probability_sum += values.iter().map(|&value| u64::from(value)).sum::<u64>();
        self.colour.add(colours);
        self.runs.push(run);
        if let Some(all) = &mut self.values {
            all.extend(values.iter().zip(colours.as_chunks::<3>().0).map(|(&value, &[r, g, b])| [value, r, g, b]));
        }
        self.drop_values_if_too_large();
    }

    /// Drops the values of a component that is too large to be split, so that a slide that is all foreground takes little memory.
    fn drop_values_if_too_large(&mut self) {
        if u64::from(self.right - self.left) * u64::from(self.last_row + 1 - self.top) > LARGEST_BOX_PX as u64 {
            self.values = None;
        }
    }

    /// Merges another component into this one.
    fn absorb(&mut self, mut other: Self) {
        if other.runs.len() > self.runs.len() {
            std::mem::swap(self, &mut other);
        }
        self.runs.append(&mut other.runs);
        self.values = self.values.take().zip(other.values).map(|(mut own, mut others)| {
            own.append(&mut others);
            own
        });
        self.pending_inside.append(&mut other.pending_inside);
        self.probability_sum += other.probability_sum;
        self.colour += other.colour;
        self.top = self.top.min(other.top);
        self.left = self.left.min(other.left);
        self.right = self.right.max(other.right);
        self.last_row = self.last_row.max(other.last_row);
        self.drop_values_if_too_large();
    }
}

/// Run with the slot of its component.
type Labelled = (Run, usize);

/// All open components: a union-find structure over reusable slots.
#[derive(Debug, Default)]
pub struct OpenComponents {
    /// True to collect [`Component::values`].
    keep_values: bool,
    slots: Vec<Option<Component>>,
    /// Parent of each slot in the union-find forest; a root is its own parent.
    parent: Vec<usize>,
    free: Vec<usize>,
    merged: Vec<usize>,
    previous: Vec<Labelled>,
    current: Vec<Labelled>,
}

impl OpenComponents {
    /// Returns an empty set; `keep_values` collects [`Component::values`].
    pub fn new(keep_values: bool) -> Self {
        Self { keep_values, ..Self::default() }
    }

    /// Adds the runs of the next row, from left to right.
    pub fn push_row(&mut self, runs: &[Run], row: &[u8], colours: &[u8]) {
        self.current.clear();
        let mut first = 0;
        for &run in runs {
            // A run above that ends left of this run's diagonal neighbour cannot touch later runs either.
            while first < self.previous.len() && self.previous[first].0.x1 < run.x0 {
                first += 1;
            }
            let touching = self.previous[first..].iter().take_while(|(above, _)| above.x0 <= run.x1).count();
            let above: Vec<usize> = self.previous[first..first + touching].iter().map(|&(_, slot)| slot).collect();
            let slot = above.into_iter().fold(None, |slot, other| Some(self.merge(slot, other))).unwrap_or_else(|| self.new_slot());
            let (x0, x1) = (run.x0 as usize, run.x1 as usize);
            self.component(slot).add(run, &row[x0..x1], &colours[3 * x0..3 * x1]);
            self.current.push((run, slot));
        }
    }

    /// Ends the row that was pushed last.
    ///
    /// Returns the components that the row did not extend, in order of their first pixel, each with the slots of the open components that may
    /// enclose it.
    pub fn finish_row(&mut self) -> Vec<(Component, Vec<usize>)> {
        let mut finished = self.finished_slots();
        finished.sort_by_cached_key(|&slot| self.component(slot).runs.iter().min().copied());
        let mut split_in_row = if finished.is_empty() { Vec::new() } else { self.split_in_row() };
        split_in_row.retain(|(slot, ..)| !finished.contains(slot));
        let enclosing: Vec<Vec<usize>> = finished.iter().map(|&slot| self.enclosing(slot, &split_in_row)).collect();
        let components: Vec<Component> =
            finished.iter().map(|&slot| self.slots[slot].take().expect("a component is finished once")).collect();
        self.end_row(&finished);
        components.into_iter().zip(enclosing).collect()
    }

    /// Returns the component in a slot.
    ///
    /// # Panics
    /// If the slot is free or merged.
    pub fn component(&mut self, slot: usize) -> &mut Component {
        self.slots[slot].as_mut().expect("the slot of an open component")
    }

    /// Returns the first row of all open components; `None` if there are none.
    pub fn top(&self) -> Option<u32> {
        self.slots.iter().flatten().map(|component| component.top).min()
    }

    /// Returns the slots of the components of the previous row that the current row does not extend.
    fn finished_slots(&mut self) -> Vec<usize> {
        let mut continued: Vec<usize> = (0..self.current.len()).map(|i| self.find_root(self.current[i].1)).collect();
        continued.sort_unstable();
        let mut slots: Vec<usize> = (0..self.previous.len()).map(|i| self.find_root(self.previous[i].1)).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.retain(|slot| continued.binary_search(slot).is_err());
        slots
    }

    /// Returns the components with more than one run in the previous row: slot, first column and end column in that row.
    fn split_in_row(&mut self) -> Vec<(usize, u32, u32)> {
        let mut runs: Vec<(usize, u32, u32)> = self.previous.iter().map(|(run, slot)| (*slot, run.x0, run.x1)).collect();
        for (slot, ..) in &mut runs {
            *slot = self.find_root(*slot);
        }
        runs.sort_unstable();
        let groups = runs.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1);
        groups.map(|group| (group[0].0, group[0].1, group[group.len() - 1].2)).collect()
    }

    /// Returns the open components that may enclose `slot`: with runs left and right of its last run, and a larger bounding box.
    fn enclosing(&mut self, slot: usize, split_in_row: &[(usize, u32, u32)]) -> Vec<usize> {
        let inner = self.component(slot);
        let (top, left, right) = (inner.top, inner.left, inner.right);
        let Some(last_run) = inner.runs.iter().max().copied() else { return Vec::new() };
        let beside = split_in_row.iter().filter(|&&(_, first, last)| first < last_run.x0 && last > last_run.x1);
        let outside = |outer: &Component| outer.top < top && outer.left < left && outer.right > right;
        beside.map(|&(outer, ..)| outer).filter(|&outer| self.slots[outer].as_ref().is_some_and(outside)).collect()
    }

    /// Makes the current row the previous one, and frees slots without references.
    fn end_row(&mut self, finished: &[usize]) {
        for i in 0..self.current.len() {
            self.current[i].1 = self.find_root(self.current[i].1);
        }
        std::mem::swap(&mut self.previous, &mut self.current);
        self.free.append(&mut self.merged);
        self.free.extend(finished);
    }

    /// Merges the component of `other` into `slot`, or takes `other` if there is no slot yet; returns the root.
    fn merge(&mut self, slot: Option<usize>, other: usize) -> usize {
        let other = self.find_root(other);
        let Some(slot) = slot.filter(|&slot| slot != other) else { return other };
        let absorbed = self.slots[other].take().expect("roots hold components");
        self.component(slot).absorb(absorbed);
        self.parent[other] = slot;
        self.merged.push(other);
        slot
    }

    fn new_slot(&mut self) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.parent.push(0);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(Component { values: self.keep_values.then(Vec::new), ..Component::default() });
        self.parent[slot] = slot;
        slot
    }

    /// Returns the root of a slot, with path halving.
    fn find_root(&mut self, mut slot: usize) -> usize {
        while self.parent[slot] != slot {
            self.parent[slot] = self.parent[self.parent[slot]];
            slot = self.parent[slot];
        }
        slot
    }
}

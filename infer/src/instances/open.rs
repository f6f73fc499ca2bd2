//! Components that the current row may still grow.

use models::colour::ColourSum;
use models::distance::LARGEST_BOX_PX;

use super::runs::Run;

/// A component as far as it has been seen.
#[derive(Debug, Default)]
pub struct Component {
    /// Its runs, in no order.
    pub runs: Vec<Run>,
    /// Quantised probability, red, green and blue of the pixels, run after run; `None`: it will not be cut apart.
    pub values: Option<Vec<[u8; 4]>>,
    /// Sum of their colours.
    pub colour: ColourSum,
    /// Sum of quantised probabilities.
    pub probability_sum: u64,
    /// First row.
    pub top: u32,
    /// First column.
    pub left: u32,
    /// Column after the last.
    pub right: u32,
    /// The last row that has a run of it.
    pub last_row: u32,
    /// Finished components that may lie in a hole of this one, by their number.
    pub waiting: Vec<u64>,
}

impl Component {
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
        self.forget_values_where_too_large();
    }

    /// What is too large to be cut apart needs no values: memory for a slide that is all foreground stays small.
    fn forget_values_where_too_large(&mut self) {
        if u64::from(self.right - self.left) * u64::from(self.last_row + 1 - self.top) > LARGEST_BOX_PX as u64 {
            self.values = None;
        }
    }

    fn absorb(&mut self, mut other: Self) {
        if other.runs.len() > self.runs.len() {
            std::mem::swap(self, &mut other);
        }
        self.runs.append(&mut other.runs);
        self.values = self.values.take().zip(other.values).map(|(mut own, mut others)| {
            own.append(&mut others);
            own
        });
        self.waiting.append(&mut other.waiting);
        self.probability_sum += other.probability_sum;
        self.colour += other.colour;
        self.top = self.top.min(other.top);
        self.left = self.left.min(other.left);
        self.right = self.right.max(other.right);
        self.last_row = self.last_row.max(other.last_row);
        self.forget_values_where_too_large();
    }
}

/// A run of the row before and the slot of its component.
type Labelled = (Run, usize);

/// All open components, by slots that merged components forward and finished ones give back.
#[derive(Debug, Default)]
pub struct OpenComponents {
    /// Whether components keep their values.
    keep_values: bool,
    slots: Vec<Option<Component>>,
    /// Where a merged slot went; itself otherwise.
    parent: Vec<usize>,
    free: Vec<usize>,
    merged: Vec<usize>,
    previous: Vec<Labelled>,
    current: Vec<Labelled>,
}

impl OpenComponents {
    /// No component yet; `keep_values`: see [`Component::values`].
    pub fn new(keep_values: bool) -> Self {
        Self { keep_values, ..Self::default() }
    }

    /// Adds the runs of the next row, from left to right.
    pub fn push_row(&mut self, runs: &[Run], row: &[u8], colours: &[u8]) {
        self.current.clear();
        let mut first = 0;
        for &run in runs {
            // Runs above that end left of this one's diagonal neighbour cannot touch later ones either.
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

    /// Ends the row that was pushed last: the components that it did not continue, in order of their first pixel, each with the
    /// slots of open components that may enclose it.
    pub fn finish_row(&mut self) -> Vec<(Component, Vec<usize>)> {
        let mut finished = self.finished_slots();
        finished.sort_by_cached_key(|&slot| self.component(slot).runs.iter().min().copied());
        let mut straddling = if finished.is_empty() { Vec::new() } else { self.straddling() };
        straddling.retain(|(slot, ..)| !finished.contains(slot));
        let enclosing: Vec<Vec<usize>> = finished.iter().map(|&slot| self.enclosing(slot, &straddling)).collect();
        let components: Vec<Component> = finished.iter().map(|&slot| self.slots[slot].take().expect("finished once")).collect();
        self.end_row(&finished);
        components.into_iter().zip(enclosing).collect()
    }

    /// The component in a slot.
    pub fn component(&mut self, slot: usize) -> &mut Component {
        self.slots[slot].as_mut().expect("open components keep their slots")
    }

    /// The first row that an open component has.
    pub fn top(&self) -> Option<u32> {
        self.slots.iter().flatten().map(|component| component.top).min()
    }

    fn finished_slots(&mut self) -> Vec<usize> {
        let mut alive: Vec<usize> = (0..self.current.len()).map(|i| self.find(self.current[i].1)).collect();
        alive.sort_unstable();
        let mut slots: Vec<usize> = (0..self.previous.len()).map(|i| self.find(self.previous[i].1)).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.retain(|slot| alive.binary_search(slot).is_err());
        slots
    }

    /// Components with more than one run in the row before: their slot, first and last column there.
    fn straddling(&mut self) -> Vec<(usize, u32, u32)> {
        let mut runs: Vec<(usize, u32, u32)> = self.previous.iter().map(|(run, slot)| (*slot, run.x0, run.x1)).collect();
        for (slot, ..) in &mut runs {
            *slot = self.find(*slot);
        }
        runs.sort_unstable();
        let groups = runs.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1);
        groups.map(|group| (group[0].0, group[0].1, group[group.len() - 1].2)).collect()
    }

    /// Open components around `slot`: an enclosing one has runs left and right of its last row, and a larger box.
    fn enclosing(&mut self, slot: usize, straddling: &[(usize, u32, u32)]) -> Vec<usize> {
        let inner = self.component(slot);
        let (top, left, right) = (inner.top, inner.left, inner.right);
        let Some(last_run) = inner.runs.iter().max().copied() else { return Vec::new() };
        let beside = straddling.iter().filter(|&&(_, first, last)| first < last_run.x0 && last > last_run.x1);
        let outside = |outer: &Component| outer.top < top && outer.left < left && outer.right > right;
        beside.map(|&(outer, ..)| outer).filter(|&outer| self.slots[outer].as_ref().is_some_and(outside)).collect()
    }

    /// Forgets the row before, and gives back the slots that nothing refers to any more.
    fn end_row(&mut self, finished: &[usize]) {
        for i in 0..self.current.len() {
            self.current[i].1 = self.find(self.current[i].1);
        }
        std::mem::swap(&mut self.previous, &mut self.current);
        self.free.append(&mut self.merged);
        self.free.extend(finished);
    }

    fn merge(&mut self, slot: Option<usize>, other: usize) -> usize {
        let other = self.find(other);
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

    fn find(&mut self, mut slot: usize) -> usize {
        while self.parent[slot] != slot {
            self.parent[slot] = self.parent[self.parent[slot]];
            slot = self.parent[slot];
        }
        slot
    }
}

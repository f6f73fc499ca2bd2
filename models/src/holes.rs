//! Hole filling: a hole is a 4-connected background region that does not touch the border. The regions are found by union-find over runs of
//! background pixels, because most of the background in the bounding box of a nucleus lies in a few long runs.

use crate::plane::Plane;

/// Run of background pixels in a row. `area` and `reaches_border` describe the whole region if the run is its root.
struct Run {
    y: usize,
    /// First column.
    from: usize,
    /// Column after the last.
    to: usize,
    /// Index of an earlier run of the same region; that of the run itself for the root.
    parent: usize,
    area: usize,
    reaches_border: bool,
}

/// Fills every hole of at most `limit` pixels; returns whether there was one.
pub fn fill(mask: &mut Plane<bool>, limit: usize) -> bool {
    let mut runs = runs(mask);
    let mut any = false;
    for i in 0..runs.len() {
        let root = root(&mut runs, i);
        if runs[root].area <= limit && !runs[root].reaches_border {
            let Run { y, from, to, .. } = runs[i];
            mask.row_mut(y)[from..to].fill(true);
            any = true;
        }
    }
    any
}

/// Lists all background runs, joined to regions.
fn runs(mask: &Plane<bool>) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut above = 0;
    for y in 0..mask.height {
        let first = runs.len();
        let mut from = 0;
        for equal in mask.row(y).chunk_by(|a, b| a == b) {
            let to = from + equal.len();
            if !equal[0] {
                let reaches_border = y == 0 || y + 1 == mask.height || from == 0 || to == mask.width;
                runs.push(Run { y, from, to, parent: runs.len(), area: to - from, reaches_border });
            }
            from = to;
        }
        join_rows(&mut runs, above, first);
        above = first;
    }
    runs
}

/// Joins the runs of the last row, from index `first` on, with the overlapping runs of the row above, from index `above` on.
fn join_rows(runs: &mut [Run], mut above: usize, first: usize) {
    for now in first..runs.len() {
        while above < first && runs[above].to <= runs[now].from {
            above += 1;
        }
        let over = (above..first).take_while(|&i| runs[i].from < runs[now].to).count();
        (above..above + over).for_each(|i| join(runs, i, now));
    }
}

/// Joins the regions of two runs; the earlier root stays root.
fn join(runs: &mut [Run], a: usize, b: usize) {
    let (a, b) = (root(runs, a), root(runs, b));
    let (to, from) = (a.min(b), a.max(b));
    if to != from {
        let Run { area, reaches_border, .. } = runs[from];
        runs[from].parent = to;
        runs[to].area += area;
        runs[to].reaches_border |= reaches_border;
    }
}

/// Returns the root of a run's region, with path halving.
fn root(runs: &mut [Run], mut i: usize) -> usize {
    while runs[i].parent != i {
        runs[i].parent = runs[runs[i].parent].parent;
        i = runs[i].parent;
    }
    i
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::labels::{NEIGHBOURS_4, flood_fill};

    /// Naive implementation: a flood fill from every background pixel.
    fn reference(mask: &Plane<bool>, limit: usize) -> Plane<bool> {
        let mut filled = mask.clone();
        for start in (0..mask.data.len()).filter(|&i| !mask.data[i]) {
            let mut region = Plane::filled(mask.width, mask.height, 0);
            let area = flood_fill(&mut region, start, 1, &NEIGHBOURS_4, |i| !mask.data[i]);
            let on_border = |i: usize| [0, mask.width - 1].contains(&(i % mask.width)) || [0, mask.height - 1].contains(&(i / mask.width));
            let is_open = (0..mask.data.len()).any(|i| region.data[i] > 0 && on_border(i));
            filled.data[start] = area <= limit && !is_open;
        }
        filled
    }

    proptest! {
        #[test]
        fn the_result_is_that_of_a_flood_fill(width in 1usize..20, height in 1usize..20, seed in any::<u64>(), of in 2u64..6, limit in 0usize..12) {
            let mut state = seed | 1;
            let data = (0..width * height).map(|_| {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                !(state >> 33).is_multiple_of(of)
            });
            let mask = Plane { width, height, data: data.collect() };
            for limit in [limit, usize::MAX] {
                let mut filled = mask.clone();
                let any = fill(&mut filled, limit);
                prop_assert_eq!(any, filled != mask);
                prop_assert_eq!(&filled, &reference(&mask, limit));
            }
        }
    }
}

//! Holes of masks: 4-connected regions of background that do not reach the border. They are found by runs of background, not by
//! pixels: most of a box around a nucleus is in a few long ones.

use crate::plane::Plane;

/// A run of background in a row, and what is known of its region where it is the region's root.
struct Run {
    y: usize,
    from: usize,
    to: usize,
    /// An earlier run of the same region, or itself.
    parent: usize,
    area: usize,
    reaches_border: bool,
}

/// Fills every hole of at most `limit` pixels; whether there was one.
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

/// All runs of background, joined to regions.
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

/// Joins the last row's runs, from `first` on, to those of the row above that lie over them.
fn join_rows(runs: &mut [Run], mut above: usize, first: usize) {
    for now in first..runs.len() {
        while above < first && runs[above].to <= runs[now].from {
            above += 1;
        }
        let over = (above..first).take_while(|&i| runs[i].from < runs[now].to).count();
        (above..above + over).for_each(|i| join(runs, i, now));
    }
}

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

/// The first run of a region; the way there becomes shorter.
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
    use crate::decode::{AROUND_4, flood};

    /// Region by region, pixel by pixel.
    fn reference(mask: &Plane<bool>, limit: usize) -> Plane<bool> {
        let mut filled = mask.clone();
        for start in (0..mask.data.len()).filter(|&i| !mask.data[i]) {
            let mut region = Plane::filled(mask.width, mask.height, 0);
            let area = flood(&mut region, start, 1, &AROUND_4, |i| !mask.data[i]);
            let on_border = |i: usize| [0, mask.width - 1].contains(&(i % mask.width)) || [0, mask.height - 1].contains(&(i / mask.width));
            let is_open = (0..mask.data.len()).any(|i| region.data[i] > 0 && on_border(i));
            filled.data[start] = area <= limit && !is_open;
        }
        filled
    }

    proptest! {
        #[test]
        fn holes_are_those_of_a_flood(width in 1usize..20, height in 1usize..20, seed in any::<u64>(), of in 2u64..6, limit in 0usize..12) {
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

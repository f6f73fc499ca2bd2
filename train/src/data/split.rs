//! Dividing images: a seeded hold-out for validation, and cross-validation folds.

use std::collections::BTreeMap;

use crate::rng::Draw;

/// Chooses `floor(share n)` of `n` images, sorted; the same for the same seed.
pub fn hold_out(n: usize, share: f64, seed: u64) -> Vec<usize> {
    let count = (share * n as f64).floor() as usize;
    let mut chosen = Draw::new(seed, "hold out", 0, 0, 0).permutation(n);
    chosen.truncate(count);
    chosen.sort_unstable();
    chosen
}

/// `count` folds of images, shuffled within each group, so that every fold holds its share of every modality.
///
/// `groups[i]` is the modality of image i. Each image is in exactly one fold; folds are sorted.
pub fn folds(groups: &[Option<String>], count: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut members = BTreeMap::<&Option<String>, Vec<usize>>::new();
    groups.iter().enumerate().for_each(|(i, group)| members.entry(group).or_default().push(i));
    let mut folds = vec![Vec::new(); count];
    // Dealing on where the last group ended keeps the folds' sizes within one of each other.
    let mut next = 0;
    for (g, mut images) in members.into_values().enumerate() {
        Draw::new(seed, "folds", 0, 0, g as u64).shuffle(&mut images);
        for image in images {
            folds[next % count].push(image);
            next += 1;
        }
    }
    for fold in &mut folds {
        fold.sort_unstable();
    }
    folds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_divide_every_group_evenly() {
        let groups: Vec<Option<String>> = (0..29).map(|i| Some(if i % 3 == 0 { "a" } else { "b" }.to_owned())).collect();
        let folds = folds(&groups, 5, 1);
        let mut all: Vec<usize> = folds.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..29).collect::<Vec<_>>());
        for fold in &folds {
            let a = fold.iter().filter(|i| *i % 3 == 0).count();
            assert!(a == 2 && (5..=6).contains(&fold.len()), "{fold:?}");
        }
        assert_ne!(folds, super::folds(&groups, 5, 2));
    }

    #[test]
    fn holding_out_takes_the_share_rounded_down() {
        assert_eq!(hold_out(24, 0.2, 3).len(), 4);
        assert_eq!(hold_out(4, 0.2, 3).len(), 0);
        assert_eq!(hold_out(24, 0.2, 3), hold_out(24, 0.2, 3));
    }
}

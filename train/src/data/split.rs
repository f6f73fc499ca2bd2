//! Dividing images: by `index.csv`, by a seeded hold-out for validation, or into cross-validation folds.

use std::collections::BTreeMap;

use rayon::prelude::*;
use support::{Result, bail};

use super::folder::Folder;
use super::image_file::read_rgb;
use super::index::Split;
use super::modality::modality;
use crate::config::DataConfig;
use crate::rng::CounterRng;

/// The split of each image: that of `index.csv` (`None` where it says nothing), or, with `data.fold`, that of cross-validation.
///
/// In cross-validation, images that `index.csv` calls test are the test set, and all others are dealt into `data.folds` parts;
/// without such images the last part is the test set. Part `data.fold` validates, the others train.
pub fn assigned(folder: &Folder, ids: &[&str], config: &DataConfig) -> Result<Vec<Option<Split>>> {
    let named: Vec<Option<Split>> = ids.iter().map(|id| folder.index.as_ref()?.get(*id)?.split).collect();
    let Some(fold) = config.fold else { return Ok(named) };
    let free: Vec<usize> = (0..ids.len()).filter(|&i| named[i] != Some(Split::Test)).collect();
    let tests_are_named = free.len() < ids.len();
    let usable = if tests_are_named { config.folds } else { config.folds - 1 };
    if config.folds > free.len() {
        bail!("{}: {} images cannot be dealt into data.folds = {} parts", folder.path.display(), free.len(), config.folds; hint: "set data.folds to at most the number of images that are not for testing");
    }
    if fold >= usable {
        bail!("data.fold = {fold}: part {fold} of {} is the test set", config.folds; hint: "validate on one of the parts 0 to {}, or name the test images in index.csv", usable - 1);
    }
    let groups: Vec<Result<_>> = free.par_iter().map(|&i| group(folder, ids[i])).collect();
    let groups = groups.into_iter().collect::<Result<Vec<_>>>()?;
    let mut splits = vec![Some(Split::Test); ids.len()];
    for (part, members) in folds(&groups, config.folds, config.fold_seed).into_iter().enumerate() {
        let split = match part {
            part if part == fold => Split::Val,
            part if part == usable => Split::Test,
            _ => Split::Train,
        };
        members.into_iter().for_each(|k| splits[free[k]] = Some(split));
    }
    Ok(splits)
}

/// The modality that `index.csv` gives, else the one that the image's colours tell.
fn group(folder: &Folder, id: &str) -> Result<Option<String>> {
    match folder.modality(id) {
        Some(known) => Ok(Some(known.to_owned())),
        None => Ok(Some(modality(&read_rgb(&folder.images[id])?.0).to_owned())),
    }
}

/// Chooses `floor(share n)` of `n` images, sorted; the same for the same seed.
pub fn hold_out(n: usize, share: f64, seed: u64) -> Vec<usize> {
    let count = (share * n as f64).floor() as usize;
    let mut chosen = CounterRng::new(seed, "hold out", 0, 0, 0).permutation(n);
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
        CounterRng::new(seed, "folds", 0, 0, g as u64).shuffle(&mut images);
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

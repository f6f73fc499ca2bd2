//! Splits: from `index.csv`, by a seeded hold-out for validation, or by cross-validation folds.

use std::collections::BTreeMap;

use rayon::prelude::*;
use support::{Result, bail};

use super::folder::Folder;
use super::image_file::read_rgb;
use super::index::Split;
use super::modality::modality;
use crate::config::DataConfig;
use crate::rng::CounterRng;

/// Returns the split of each image: that of `index.csv` (`None` if unassigned), or, with `data.fold`, that of cross-validation.
///
/// In cross-validation, the test set consists of the test images of `index.csv`, and all other images are assigned to `data.folds` folds;
/// without such images the last fold is the test set. Fold `data.fold` validates, the others train.
///
/// # Errors
/// More folds than images, or a `data.fold` that is the test set; an unreadable image whose modality has to be classified.
pub fn assigned(folder: &Folder, ids: &[&str], config: &DataConfig) -> Result<Vec<Option<Split>>> {
    let named: Vec<Option<Split>> = ids.iter().map(|id| folder.index.as_ref()?.get(*id)?.split).collect();
    let Some(fold) = config.fold else { return Ok(named) };
    let assignable: Vec<usize> = (0..ids.len()).filter(|&i| named[i] != Some(Split::Test)).collect();
    let tests_are_named = assignable.len() < ids.len();
    let usable = if tests_are_named { config.folds } else { config.folds - 1 };
    if config.folds > assignable.len() {
        bail!("{}: {} images cannot be divided into data.folds = {} folds", folder.path.display(), assignable.len(), config.folds; hint: "set data.folds to at most the number of images outside the test set");
    }
    if fold >= usable {
        bail!("data.fold = {fold}: fold {fold} of {} is the test set", config.folds; hint: "validate on one of the folds 0 to {}, or name the test images in index.csv", usable - 1);
    }
    let groups: Vec<Result<_>> = assignable.par_iter().map(|&i| modality_of(folder, ids[i], config.channel.as_deref())).collect();
    let groups = groups.into_iter().collect::<Result<Vec<_>>>()?;
    let mut splits = vec![Some(Split::Test); ids.len()];
    for (index, members) in folds(&groups, config.folds, config.fold_seed).into_iter().enumerate() {
        let split = match index {
            index if index == fold => Split::Val,
            index if index == usable => Split::Test,
            _ => Split::Train,
        };
        members.into_iter().for_each(|k| splits[assignable[k]] = Some(split));
    }
    Ok(splits)
}

/// Returns the modality of an image in `index.csv`, else the one that its colours indicate.
fn modality_of(folder: &Folder, id: &str, channel: Option<&str>) -> Result<Option<String>> {
    match folder.modality(id) {
        Some(known) => Ok(Some(known.to_owned())),
        None => Ok(Some(modality(&read_rgb(&folder.images[id], channel)?.0).to_owned())),
    }
}

/// Chooses `floor(fraction n)` of `n` images at random; returns their indices in ascending order, which depend only on the arguments.
pub fn hold_out(n: usize, fraction: f64, seed: u64) -> Vec<usize> {
    let count = (fraction * n as f64).floor() as usize;
    let mut chosen = CounterRng::new(seed, "hold out", 0, 0, 0).permutation(n);
    chosen.truncate(count);
    chosen.sort_unstable();
    chosen
}

/// Divides images into `count` folds at random, stratified by group: fold sizes differ by at most 1, in total and within each group.
///
/// `groups[i]` is the modality of image i. Each image is in exactly one fold; the folds are sorted.
pub fn folds(groups: &[Option<String>], count: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut members = BTreeMap::<&Option<String>, Vec<usize>>::new();
    groups.iter().enumerate().for_each(|(i, group)| members.entry(group).or_default().push(i));
    let mut folds = vec![Vec::new(); count];
    // Continuing with the fold after the last group's last image keeps the total sizes of the folds within 1 of each other.
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
    fn folds_are_stratified_by_group() {
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
    fn hold_out_rounds_the_number_of_images_down() {
        assert_eq!(hold_out(24, 0.2, 3).len(), 4);
        assert_eq!(hold_out(4, 0.2, 3).len(), 0);
        assert_eq!(hold_out(24, 0.2, 3), hold_out(24, 0.2, 3));
    }
}

//! Losses and validation scores of all runs over iterations, a curve for each method.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use support::{Result, artifact};

use super::FoldScores;
use super::differences::methods;
use crate::config::RunConfig;
use crate::fit::Files;
use crate::log::Log;
use crate::report::chart::{Series, chart};

/// Points of a curve: more iterations are averaged, so that methods can be told apart behind the noise of single batches.
const POINTS: usize = 60;

/// Values of several runs by their iteration.
type Values = BTreeMap<u64, Vec<f64>>;

/// Writes `loss.svg` and `validation.svg`: for each method the mean over its finished runs, which are the first of `jobs`.
pub(super) fn write(finished: &[FoldScores], jobs: &[(PathBuf, RunConfig)], out: &Path) -> Result<()> {
    let (mut losses, mut scores) = (Vec::new(), Vec::new());
    for method in methods(finished) {
        let (mut loss, mut score) = (Values::new(), Values::new());
        let folders: Vec<&PathBuf> =
            finished.iter().zip(jobs).filter(|(run, _)| run.method == method).map(|(_, (folder, _))| folder).collect();
        for folder in &folders {
            let files = Files::of(folder);
            for row in Log::read(&files.log, &files.pseudo, u64::MAX)?.rows() {
                loss.entry(row.iteration).or_default().push(row.scribble);
                score.entry(row.iteration).or_default().extend(row.score);
            }
        }
        let name = if folders.len() == 1 { method.name().to_owned() } else { format!("{}, {} runs", method.name(), folders.len()) };
        losses.push(Series::new(&name, means(&loss)));
        scores.push(Series::new(&name, means(&score)));
    }
    for (file, title, series) in [("loss.svg", "cross-entropy on labels", losses), ("validation.svg", "validation score", scores)] {
        if let Some(svg) = chart(title, &series)? {
            artifact::write(&out.join(file), svg.as_bytes())?;
        }
    }
    Ok(())
}

/// Mean iteration and mean value of groups of neighbouring iterations, about [`POINTS`] of them; those without values are left out.
fn means(values: &Values) -> Vec<(f64, f64)> {
    let known: Vec<(&u64, &Vec<f64>)> = values.iter().filter(|(_, values)| !values.is_empty()).collect();
    let group = |group: &[(&u64, &Vec<f64>)]| {
        let at = group.iter().map(|(iteration, _)| **iteration as f64).sum::<f64>() / group.len() as f64;
        let all: Vec<f64> = group.iter().flat_map(|(_, values)| values.iter().copied()).collect();
        (at, all.iter().sum::<f64>() / all.len() as f64)
    };
    known.chunks(known.len().div_ceil(POINTS).max(1)).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_iterations_are_averaged_over_runs_and_many_over_neighbours_too() {
        let few = Values::from([(10, vec![1.0, 3.0]), (20, vec![]), (30, vec![5.0])]);
        assert_eq!(means(&few), [(10.0, 2.0), (30.0, 5.0)]);
        let many: Values = (1..=600).map(|i| (i, vec![i as f64, i as f64 + 1.0])).collect();
        let found = means(&many);
        assert_eq!((found.len(), found[0]), (60, (5.5, 6.0)));
        assert_eq!(means(&Values::new()), []);
    }
}

//! Curves of losses and validation scores over iterations, one for each method.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use support::{Result, durable};

use super::FoldScores;
use super::differences::methods;
use crate::config::RunConfig;
use crate::log::Log;
use crate::report::chart::{Series, chart};
use crate::run_folder::RunFolder;

/// Largest number of points per curve. Neighbouring iterations are averaged, because the noise of single batches hides the differences
/// between methods.
const POINTS: usize = 60;

/// Values of several runs by iteration.
type Values = BTreeMap<u64, Vec<f64>>;

/// Writes `loss.svg` and `validation.svg` with the mean over the finished runs of each method. `finished` are the first of `jobs`.
pub(super) fn write(finished: &[FoldScores], jobs: &[(PathBuf, RunConfig)], out: &Path) -> Result<()> {
    let (mut losses, mut scores) = (Vec::new(), Vec::new());
    for method in methods(finished) {
        let (mut loss, mut score) = (Values::new(), Values::new());
        let folders: Vec<&PathBuf> =
            finished.iter().zip(jobs).filter(|(run, _)| run.method == method).map(|(_, (folder, _))| folder).collect();
        for folder in &folders {
            let files = RunFolder::at(folder);
            for row in Log::read(&files.log, &files.pseudo_labels, u64::MAX)?.rows() {
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
            durable::write(&out.join(file), svg.as_bytes())?;
        }
    }
    Ok(())
}

/// Averages iterations and values over groups of neighbouring iterations, at most [`POINTS`] of them; iterations without values are left out.
fn means(values: &Values) -> Vec<(f64, f64)> {
    let measured: Vec<(&u64, &Vec<f64>)> = values.iter().filter(|(_, values)| !values.is_empty()).collect();
    let group = |group: &[(&u64, &Vec<f64>)]| {
        let at = group.iter().map(|(iteration, _)| **iteration as f64).sum::<f64>() / group.len() as f64;
        let all: Vec<f64> = group.iter().flat_map(|(_, values)| values.iter().copied()).collect();
        (at, all.iter().sum::<f64>() / all.len() as f64)
    };
    measured.chunks(measured.len().div_ceil(POINTS).max(1)).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_averaged_over_runs_and_long_curves_over_neighbours() {
        let few = Values::from([(10, vec![1.0, 3.0]), (20, vec![]), (30, vec![5.0])]);
        assert_eq!(means(&few), [(10.0, 2.0), (30.0, 5.0)]);
        let many: Values = (1..=600).map(|i| (i, vec![i as f64, i as f64 + 1.0])).collect();
        let averaged = means(&many);
        assert_eq!((averaged.len(), averaged[0]), (60, (5.5, 6.0)));
        assert_eq!(means(&Values::new()), []);
    }
}

//! Table of methods as Markdown, CSV and JSON: mean and spread over folds, beside the published scores.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use support::{Result, durable};

use super::differences::{self, PairedDifference, differences, methods};
use super::papers::{Published, data_of, published};
use super::{FoldScores, Series};
use crate::config::Method;
use crate::metrics::paired::over_runs;
use crate::metrics::{ScoreTable, Summary};

/// Scores in the table, by their names in [`crate::metrics::Scores::named`].
const SHOWN: [&str; 7] = ["mdice_paper", "iou", "mdice", "aji", "pq", "f1@.5", "ap@.5"];

/// Score in the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TableScore {
    /// Mean over test images; for several runs, the mean of their means.
    pub mean: f64,
    /// Standard deviation over runs (n - 1 in the denominator); `None` for one run.
    pub sd: Option<f64>,
    /// 95 % bootstrap interval over images and runs; `None` for published scores.
    pub interval: Option<[f64; 2]>,
}

/// Line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableLine {
    /// `this run`, the paper, or the name of a series.
    pub source: String,
    /// Data set; empty if unknown.
    pub data: String,
    /// Name of the method.
    pub method: String,
    /// `mean of N` runs, or fold (and seed, if there are several); empty for published scores.
    pub fold: String,
    /// Number of test images; `None` for published scores.
    pub images: Option<usize>,
    /// Scores by name.
    pub scores: BTreeMap<String, TableScore>,
}

/// Table of methods.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// Means of the runs, means of the series beside them, published scores, then every fold.
    pub lines: Vec<TableLine>,
    /// Paired differences between methods.
    #[serde(rename = "leads")]
    pub differences: Vec<PairedDifference>,
}

impl Table {
    /// Tabulates finished runs and the series beside them on images of one modality; `seed` is that of the bootstrap.
    pub fn new(finished: &[FoldScores], beside: &[Series], modality: Option<&str>, seed: u64) -> Self {
        let data = modality.map_or_else(String::new, |modality| data_of(modality).map_or(modality, |known| known).to_owned());
        let mut lines = mean_lines("this run", finished, &data, seed);
        lines.extend(beside.iter().flat_map(|series| mean_lines(&series.name, &series.finished, &data, seed)));
        lines.extend(published(modality.and_then(data_of)).iter().map(published_line));
        let seeds = finished.iter().any(|run| run.seed != finished[0].seed);
        let by_method = methods(finished).into_iter().flat_map(|method| finished.iter().filter(move |run| run.method == method));
        lines.extend(by_method.map(|run| fold_line(run, &data, seeds)));
        Self { lines, differences: differences(finished, beside, seed) }
    }

    /// Writes `table.md`, `table.csv` and `table.json`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        durable::write(&folder.join("table.md"), self.to_markdown().as_bytes())?;
        durable::write(&folder.join("table.csv"), &self.to_csv()?)?;
        durable::write(&folder.join("table.json"), &serde_json::to_vec_pretty(self)?)
    }

    /// Formats the table as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut text = String::from(
            "Mean over test images; for several runs (folds, seeds), mean ± standard deviation over runs. In brackets: 95 % bootstrap interval over images and runs. `mdice_paper` is mDice as the papers compute it.\n\n",
        );
        let head: Vec<&str> = ["source", "data", "method", "fold", "images"].into_iter().chain(SHOWN).collect();
        let _ = writeln!(text, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len())); // writing to a String cannot fail
        for line in &self.lines {
            let images = line.images.map_or_else(String::new, |n| n.to_string());
            let cells: Vec<String> = SHOWN.iter().map(|name| line.scores.get(*name).map_or_else(|| "–".into(), shown)).collect();
            let _ =
                writeln!(text, "| {} | {} | {} | {} | {images} | {} |", line.source, line.data, line.method, line.fold, cells.join(" | "));
        }
        text + &differences::to_markdown(&self.differences)
    }

    fn to_csv(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let columns = SHOWN.iter().flat_map(|name| ["", "_sd", "_low", "_high"].map(|end| format!("{name}{end}")));
        writer.write_record(["source", "data", "method", "fold", "images"].map(str::to_owned).into_iter().chain(columns))?;
        for line in &self.lines {
            let first = [&line.source, &line.data, &line.method, &line.fold].map(Clone::clone).into_iter();
            let images = line.images.map_or_else(String::new, |n| n.to_string());
            let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.6}"));
            let cells = SHOWN.iter().flat_map(|name| {
                let cell = line.scores.get(*name);
                let interval = cell.and_then(|cell| cell.interval);
                let ends = interval.map_or([None; 2], |ends| ends.map(Some));
                [cell.map(|cell| cell.mean), cell.and_then(|cell| cell.sd), ends[0], ends[1]].map(number)
            });
            writer.write_record(first.chain([images]).chain(cells))?;
        }
        Ok(writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
    }
}

/// Formats a score as `.8235`, `.8235 [.8011, .8402]` or `.8235 ± .0102 [.8011, .8402]`.
fn shown(cell: &TableScore) -> String {
    let short = |v: f64| format!("{v:.4}").trim_start_matches('0').to_owned();
    let mean = cell.sd.map_or_else(|| short(cell.mean), |sd| format!("{} ± {}", short(cell.mean), short(sd)));
    // The interval of a single image is empty.
    cell.interval.filter(|[low, high]| low < high).map_or_else(|| mean.clone(), |ends| format!("{mean} [{}]", ends.map(short).join(", ")))
}

fn published_line(published: &Published) -> TableLine {
    let scores = [("mdice_paper", published.mdice), ("iou", published.iou)];
    TableLine {
        source: published.source.into(),
        data: published.data.into(),
        method: published.method.into(),
        fold: String::new(),
        images: None,
        scores: scores.map(|(name, mean)| (name.to_owned(), TableScore { mean, sd: None, interval: None })).into(),
    }
}

fn fold_line(run: &FoldScores, data: &str, seeds: bool) -> TableLine {
    let cell = |name: &&str| {
        let Summary { mean, low, high, .. } = *run.test.table.get(name)?;
        Some(((*name).to_owned(), TableScore { mean, sd: None, interval: Some([low, high]) }))
    };
    TableLine {
        source: "this run".into(),
        data: data.into(),
        method: run.method.name().into(),
        fold: if seeds { format!("{}, seed {}", run.fold, run.seed) } else { run.fold.to_string() },
        images: Some(run.test.table.images.len()),
        scores: SHOWN.iter().filter_map(cell).collect(),
    }
}

fn mean_lines(source: &str, finished: &[FoldScores], data: &str, seed: u64) -> Vec<TableLine> {
    let line = |method: Method| {
        let runs: Vec<&ScoreTable> = finished.iter().filter(|run| run.method == method).map(|run| &run.test.table).collect();
        TableLine {
            source: source.into(),
            data: data.into(),
            method: method.name().into(),
            fold: format!("mean of {}", runs.len()),
            images: runs.iter().map(|run| run.images.len()).max(),
            scores: SHOWN.iter().filter_map(|name| Some(((*name).to_owned(), mean_of(&runs, name, seed)?))).collect(),
        }
    };
    methods(finished).into_iter().map(line).collect()
}

/// Computes the mean of the runs' means, their standard deviation, and the bootstrap interval over the images that all runs have.
fn mean_of(runs: &[&ScoreTable], name: &str, seed: u64) -> Option<TableScore> {
    let means: Vec<f64> = runs.iter().filter_map(|run| Some(run.get(name)?.mean)).collect();
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let squares: f64 = means.iter().map(|v| (v - mean).powi(2)).sum();
    let interval = over_runs(runs, name, seed).map(|over| [over.low, over.high]);
    (n > 0.0).then(|| TableScore { mean, sd: (n > 1.0).then(|| (squares / (n - 1.0)).sqrt()), interval })
}

#[cfg(test)]
mod tests {
    use models::plane::Plane;

    use super::*;
    use crate::config::Views;
    use crate::evaluate::Evaluation;
    use crate::metrics::{ScoreTable, Scores};

    fn finished(method: Method, fold: usize, predicted_columns: u32) -> FoldScores {
        let truth = Plane::new(20, 10, (0..200).map(|i| u32::from(i % 20 < 10)).collect()).unwrap();
        let predicted = Plane::new(20, 10, (0..200).map(|i| u32::from(i % 20 < predicted_columns)).collect()).unwrap();
        let table = ScoreTable::new(vec![("a".into(), Scores::of_instances(&truth, &predicted, None))], 0);
        let test = Evaluation { views: Views::One, split_touching: false, table, without_splitting: None };
        FoldScores { method, fold, seed: 0, iterations: 3, seconds: 1.0, test }
    }

    #[test]
    fn the_table_has_means_spreads_and_published_scores() {
        let runs = [finished(Method::Both, 0, 10), finished(Method::Both, 1, 5), finished(Method::Pce, 0, 10)];
        let table = Table::new(&runs, &[], Some("fluorescence"), 0);
        let text = table.to_markdown();
        // IoU 1 and .5: mean .75, standard deviation .3536.
        for part in [
            "| this run | DSB-Fluo | both | mean of 2 | 1 |",
            ".7500 ± .3536",
            "| this run | DSB-Fluo | pce | 0 | 1 |",
            "| ISBI 2022 | DSB-Fluo | both |  |  | .8268 | .8570 | – |",
            "| MICCAI 2020 | DSB-Fluo | pce |  |  | .8380 | .8290 | – |",
            "Difference from pce",
            "| both | 1 | +0.000 |",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("MoNuSeg"));
        assert!(serde_json::to_value(&table).unwrap()["leads"].is_array(), "the key of the differences in table.json is stable");
        assert_eq!(table.lines.len(), 2 + 8 + 3);
        let csv = String::from_utf8(table.to_csv().unwrap()).unwrap();
        assert_eq!(csv.lines().count(), 14);
        assert!(csv.lines().nth(1).unwrap().starts_with("this run,DSB-Fluo,pce,mean of 1,1,"), "{csv}");
        assert_eq!(Table::new(&runs, &[], None, 0).lines.len(), 2 + 24 + 3);
    }

    #[test]
    fn series_are_tabulated_and_differences_pair_the_same_fold_and_seed() {
        let with_seed = |seed, columns| FoldScores { seed, ..finished(Method::S2l, 0, columns) };
        let beside = Series { name: "paper".into(), finished: vec![finished(Method::Both, 0, 5), finished(Method::Both, 1, 10)] };
        let text = Table::new(&[with_seed(0, 10), with_seed(7, 5)], &[beside], Some("fluorescence"), 0).to_markdown();
        for part in [
            "| this run | DSB-Fluo | s2l | mean of 2 | 1 |",
            "| paper | DSB-Fluo | both | mean of 2 | 1 |",
            "| s2l | 0, seed 7 | 1 |",
            "Difference from paper/both",
            "| s2l | 1 | +0.500 |",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

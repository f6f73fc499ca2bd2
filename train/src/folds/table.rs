//! The table of methods: mean and spread over folds, beside the papers' figures, as markdown, CSV and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use models::{Result, artifact};
use serde::Serialize;

use super::FoldScores;
use super::differences::{self, Lead, leads};
use super::papers::{data_of, figures};
use crate::config::Method;

/// Scores that the table shows, by their names in [`crate::metrics::Scores::named`].
const SHOWN: [&str; 7] = ["mdice_paper", "iou", "mdice", "aji", "pq", "f1@.5", "ap@.5"];

/// A score in the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Mean over test images; over folds, the mean of these.
    pub mean: f64,
    /// Standard deviation over folds (n - 1); `None` for one fold.
    pub sd: Option<f64>,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// `this run`, or the paper.
    pub source: String,
    /// The data set, where it is known.
    pub data: String,
    /// The method.
    pub method: String,
    /// `mean of N`, or one fold; empty for papers.
    pub fold: String,
    /// Test images; `None` for papers.
    pub images: Option<usize>,
    /// Scores by name.
    pub scores: BTreeMap<String, Cell>,
}

/// All lines: means of our runs, the papers, then every fold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// In the order of the text.
    pub lines: Vec<Line>,
    /// How far methods lie above one of them.
    pub leads: Vec<Lead>,
}

impl Table {
    /// The table of finished runs on images of one modality; `seed` is that of the intervals.
    pub fn new(finished: &[FoldScores], modality: Option<&str>, seed: u64) -> Self {
        let data = modality.map_or_else(String::new, |modality| data_of(modality).map_or(modality, |known| known).to_owned());
        let of = |method: &Method| finished.iter().filter(|scores| scores.method == *method).collect::<Vec<_>>();
        let runs: Vec<(Method, Vec<&FoldScores>)> = Method::ALL.iter().map(|m| (*m, of(m))).filter(|(_, runs)| !runs.is_empty()).collect();
        let mut lines: Vec<Line> = runs.iter().map(|(method, runs)| mean_line(*method, runs, &data)).collect();
        lines.extend(figures(modality.and_then(data_of)).into_iter().map(|figure| Line {
            source: figure.source.into(),
            data: figure.data.into(),
            method: figure.method.into(),
            fold: String::new(),
            images: None,
            scores:
                [("mdice_paper", figure.mdice), ("iou", figure.iou)].map(|(name, mean)| (name.to_owned(), Cell { mean, sd: None })).into(),
        }));
        lines.extend(runs.iter().flat_map(|(_, runs)| runs.iter().map(|scores| fold_line(scores, &data))));
        Self { lines, leads: leads(finished, seed) }
    }

    /// Writes `table.md`, `table.csv` and `table.json`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        artifact::write(&folder.join("table.md"), self.to_markdown().as_bytes())?;
        artifact::write(&folder.join("table.csv"), &self.to_csv()?)?;
        artifact::write(&folder.join("table.json"), &serde_json::to_vec_pretty(self)?)
    }

    /// The table for people.
    pub fn to_markdown(&self) -> String {
        let mut text = String::from(
            "Mean over test images; with several folds, mean ± standard deviation over folds. `mdice_paper` is mDice as the papers compute it.\n\n",
        );
        let head: Vec<&str> = ["source", "data", "method", "fold", "images"].into_iter().chain(SHOWN).collect();
        let _ = writeln!(text, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len())); // writing to a String cannot fail
        for line in &self.lines {
            let images = line.images.map_or_else(String::new, |n| n.to_string());
            let cells: Vec<String> = SHOWN.iter().map(|name| line.scores.get(*name).map_or_else(|| "–".into(), shown)).collect();
            let _ =
                writeln!(text, "| {} | {} | {} | {} | {images} | {} |", line.source, line.data, line.method, line.fold, cells.join(" | "));
        }
        text + &differences::to_markdown(&self.leads)
    }

    fn to_csv(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let columns = SHOWN.iter().flat_map(|name| [(*name).to_owned(), format!("{name}_sd")]);
        writer.write_record(["source", "data", "method", "fold", "images"].map(str::to_owned).into_iter().chain(columns))?;
        for line in &self.lines {
            let first = [&line.source, &line.data, &line.method, &line.fold].map(Clone::clone).into_iter();
            let images = line.images.map_or_else(String::new, |n| n.to_string());
            let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.6}"));
            let cells = SHOWN.iter().flat_map(|name| {
                let cell = line.scores.get(*name);
                [number(cell.map(|cell| cell.mean)), number(cell.and_then(|cell| cell.sd))]
            });
            writer.write_record(first.chain([images]).chain(cells))?;
        }
        Ok(writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
    }
}

/// `.8235` or `.8235 ± .0102`.
fn shown(cell: &Cell) -> String {
    let short = |v: f64| format!("{v:.4}").trim_start_matches('0').to_owned();
    cell.sd.map_or_else(|| short(cell.mean), |sd| format!("{} ± {}", short(cell.mean), short(sd)))
}

fn fold_line(scores: &FoldScores, data: &str) -> Line {
    let cell = |name: &&str| Some(((*name).to_owned(), Cell { mean: scores.test.table.get(name)?.mean, sd: None }));
    Line {
        source: "this run".into(),
        data: data.into(),
        method: scores.method.name().into(),
        fold: scores.fold.to_string(),
        images: Some(scores.test.table.images.len()),
        scores: SHOWN.iter().filter_map(cell).collect(),
    }
}

fn mean_line(method: Method, runs: &[&FoldScores], data: &str) -> Line {
    let over_folds = |name: &&str| {
        let means: Vec<f64> = runs.iter().filter_map(|scores| Some(scores.test.table.get(name)?.mean)).collect();
        let n = means.len() as f64;
        let mean = means.iter().sum::<f64>() / n;
        let squares: f64 = means.iter().map(|v| (v - mean).powi(2)).sum();
        ((*name).to_owned(), Cell { mean, sd: (means.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) })
    };
    Line {
        source: "this run".into(),
        data: data.into(),
        method: method.name().into(),
        fold: format!("mean of {}", runs.len()),
        images: Some(runs.iter().map(|scores| scores.test.table.images.len()).max().unwrap_or(0)),
        scores: SHOWN.iter().map(over_folds).collect(),
    }
}

#[cfg(test)]
mod tests {
    use models::plane::Plane;

    use super::*;
    use crate::config::Views;
    use crate::evaluate::command::Evaluation;
    use crate::metrics::{ScoreTable, Scores};

    fn finished(method: Method, fold: usize, found: u32) -> FoldScores {
        let truth = Plane::new(20, 10, (0..200).map(|i| u32::from(i % 20 < 10)).collect()).unwrap();
        let predicted = Plane::new(20, 10, (0..200).map(|i| u32::from(i % 20 < found)).collect()).unwrap();
        let table = ScoreTable::new(vec![("a".into(), Scores::of_instances(&truth, &predicted, None))], 0);
        let test = Evaluation { views: Views::One, split_touching: false, table, without_splitting: None };
        FoldScores { method, fold, iterations: 3, seconds: 1.0, test }
    }

    #[test]
    fn means_spreads_and_the_papers_figures_stand_side_by_side() {
        let runs = [finished(Method::Both, 0, 10), finished(Method::Both, 1, 5), finished(Method::Pce, 0, 10)];
        let table = Table::new(&runs, Some("fluorescence"), 0);
        let text = table.to_markdown();
        // IoU 1 and .5: mean .75, standard deviation .3536.
        for part in [
            "| this run | DSB-Fluo | both | mean of 2 | 1 |",
            ".7500 ± .3536",
            "| this run | DSB-Fluo | pce | 0 | 1 |",
            "| ISBI 2022 | DSB-Fluo | both |  |  | .8268 | .8570 | – |",
            "| MICCAI 2020 | DSB-Fluo | pce |  |  | .8380 | .8290 | – |",
            "Lead over pce",
            "| both | -0.250 |",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("MoNuSeg"));
        assert_eq!(table.lines.len(), 2 + 8 + 3);
        let csv = String::from_utf8(table.to_csv().unwrap()).unwrap();
        assert_eq!(csv.lines().count(), 14);
        assert!(csv.lines().nth(1).unwrap().starts_with("this run,DSB-Fluo,pce,mean of 1,1,"), "{csv}");
        assert_eq!(Table::new(&runs, None, 0).lines.len(), 2 + 24 + 3);
    }
}

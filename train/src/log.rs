//! `log.csv`: the loss terms of every iteration and the scores of every validation. `pseudo_labels.csv`: pseudo-labels against masks.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use support::{Context, Result, artifact};

use crate::checkpoint::Progress;
use crate::metrics::pseudo::Confusion;
use crate::step::{Losses, Stage};

/// One line: an iteration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Iterations done.
    pub iteration: u64,
    /// Seconds since the run began.
    pub seconds: f64,
    /// 1 scribbles only, 2 all terms.
    pub stage: u8,
    /// Factor of the learning rates.
    pub rate: f64,
    /// What was minimised.
    pub loss: f64,
    /// Cross-entropy on scribbles.
    pub scribble: f64,
    /// Cross-entropy on pseudo-labels.
    pub pseudo: f64,
    /// Contrastive terms by head, as `r1 0.123 r4 0.456`.
    pub contrast: String,
    /// The validation score, where one was measured.
    pub score: Option<f64>,
}

impl Row {
    /// Contrastive terms by head.
    pub fn terms(&self) -> Vec<(&str, f64)> {
        let parts: Vec<&str> = self.contrast.split(' ').collect();
        parts.as_chunks::<2>().0.iter().filter_map(|[head, value]| Some((*head, value.parse().ok()?))).collect()
    }
}

/// All lines so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    rows: BTreeMap<u64, Row>,
    pseudo: BTreeMap<u64, Confusion>,
}

impl Log {
    /// Adds the iteration that `progress` has just reached.
    pub fn push(&mut self, progress: &Progress, stage: Stage, rate: f64, losses: &Losses) {
        let contrast: Vec<String> = losses.contrast.iter().map(|(head, value)| format!("{head} {value:.6}")).collect();
        let row = Row {
            iteration: progress.iteration,
            seconds: progress.seconds,
            stage: if stage == Stage::WarmUp { 1 } else { 2 },
            rate,
            loss: losses.total,
            scribble: losses.scribble,
            pseudo: losses.pseudo,
            contrast: contrast.join(" "),
            score: None,
        };
        self.rows.insert(progress.iteration, row);
    }

    /// Notes the validation score after `iteration`.
    pub fn validated(&mut self, iteration: u64, score: f64) {
        if let Some(row) = self.rows.get_mut(&iteration) {
            row.score = Some(score);
        }
    }

    /// Notes how far the pseudo-labels after `iteration` agree with masks.
    pub fn pseudo_labelled(&mut self, iteration: u64, confusion: Confusion) {
        self.pseudo.insert(iteration, confusion);
    }

    /// Pseudo-labels against masks, by iteration.
    pub fn pseudo(&self) -> impl Iterator<Item = (u64, Confusion)> {
        self.pseudo.iter().map(|(iteration, confusion)| (*iteration, *confusion))
    }

    /// Seconds that the run had taken when its last iteration ended.
    pub fn seconds(&self) -> f64 {
        self.rows.last_key_value().map_or(0.0, |(_, row)| row.seconds)
    }

    /// All lines in order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// Writes `log.csv` and, where there were masks to compare with, `pseudo_labels.csv`.
    pub fn write(&self, log: &Path, pseudo: &Path) -> Result<()> {
        artifact::write(log, &csv_of(self.rows.values())?)?;
        if self.pseudo.is_empty() {
            return Ok(());
        }
        artifact::write(pseudo, &csv_of(self.pseudo.iter().map(PseudoRow::from))?)
    }

    /// Reads the lines up to `iteration`; a run that goes on from there writes the later ones anew. A missing file is an empty log.
    pub fn read(log: &Path, pseudo: &Path, iteration: u64) -> Result<Self> {
        let rows: Vec<Row> = lines_of(log)?;
        let pseudo: Vec<PseudoRow> = lines_of(pseudo)?;
        Ok(Self {
            rows: rows.into_iter().filter(|row| row.iteration <= iteration).map(|row| (row.iteration, row)).collect(),
            pseudo: pseudo.into_iter().filter(|row| row.iteration <= iteration).map(<(u64, Confusion)>::from).collect(),
        })
    }
}

fn csv_of<T: Serialize>(rows: impl Iterator<Item = T>) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
}

fn lines_of<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    /// The largest log that is read.
    const MAX_BYTES: u64 = 1 << 30;
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = artifact::read(path, MAX_BYTES)?;
    let rows: std::result::Result<Vec<T>, _> = csv::Reader::from_reader(bytes.as_slice()).deserialize().collect();
    rows.doing(|| format!("reading {}", path.display()))
        .hint(|| "the log was edited or damaged: move it away; the run goes on without its past lines")
}

/// One line of `pseudo_labels.csv`: the fields of [`Confusion`] after the iteration.
#[derive(Serialize, Deserialize)]
struct PseudoRow {
    iteration: u64,
    nucleus_as_nucleus: u64,
    nucleus_as_background: u64,
    nucleus_ignored: u64,
    background_as_nucleus: u64,
    background_as_background: u64,
    background_ignored: u64,
}

impl From<(&u64, &Confusion)> for PseudoRow {
    fn from((&iteration, c): (&u64, &Confusion)) -> Self {
        Self {
            iteration,
            nucleus_as_nucleus: c.nucleus_as_nucleus,
            nucleus_as_background: c.nucleus_as_background,
            nucleus_ignored: c.nucleus_ignored,
            background_as_nucleus: c.background_as_nucleus,
            background_as_background: c.background_as_background,
            background_ignored: c.background_ignored,
        }
    }
}

impl From<PseudoRow> for (u64, Confusion) {
    fn from(row: PseudoRow) -> Self {
        let confusion = Confusion {
            nucleus_as_nucleus: row.nucleus_as_nucleus,
            nucleus_as_background: row.nucleus_as_background,
            nucleus_ignored: row.nucleus_ignored,
            background_as_nucleus: row.background_as_nucleus,
            background_as_background: row.background_as_background,
            background_ignored: row.background_ignored,
        };
        (row.iteration, confusion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_up_to_the_iteration_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (log, pseudo) = (folder.path().join("log.csv"), folder.path().join("pseudo_labels.csv"));
        let mut written = Log::default();
        for iteration in 1..=4 {
            let progress = Progress { iteration, seconds: iteration as f64, ..Progress::default() };
            written.push(&progress, Stage::Full, 0.5, &Losses { total: 1.25, ..Losses::default() });
        }
        written.validated(2, 0.75);
        written.pseudo_labelled(2, Confusion { nucleus_ignored: 3, ..Confusion::default() });
        written.pseudo_labelled(4, Confusion::default());
        written.write(&log, &pseudo).unwrap();
        assert_eq!(Log::read(&log, &pseudo, 9).unwrap(), written);
        let part = Log::read(&log, &pseudo, 3).unwrap();
        assert_eq!((part.rows().count(), part.pseudo().count(), part.seconds()), (3, 1, 3.0));
        assert_eq!(part.rows().nth(1).unwrap().score, Some(0.75));
        std::fs::write(&log, "iteration\nx\n").unwrap();
        let error = Log::read(&log, &pseudo, 9).unwrap_err();
        assert!(error.to_string().contains("log.csv") && error.hint_text().is_some(), "{error:?}");
    }
}

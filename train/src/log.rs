//! Log of a run: `log.csv` with the loss terms of every iteration and the score of every validation, and `pseudo_labels.csv` with the
//! agreement of pseudo-labels with masks.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use support::{Context, Result, durable};

use crate::metrics::pseudo::Confusion;
use crate::step::{Losses, Stage};

/// Line of `log.csv`: one iteration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Number of iterations done.
    pub iteration: u64,
    /// Training time in seconds over all sessions.
    pub seconds: f64,
    /// Stage: 1 warm-up on scribbles alone, 2 all loss terms.
    pub stage: u8,
    /// Factor of all learning rates, 0 to 1.
    pub rate: f64,
    /// Total loss.
    pub loss: f64,
    /// Cross-entropy on scribbles.
    pub scribble: f64,
    /// Cross-entropy on pseudo-labels.
    pub pseudo: f64,
    /// Contrastive terms by projection head, before weighting, as `r1 0.123 r4 0.456`.
    pub contrast: String,
    /// Validation score, if the iteration was followed by a validation.
    pub score: Option<f64>,
}

impl Row {
    /// Parses the contrastive terms: name of the head and value.
    pub fn terms(&self) -> Vec<(&str, f64)> {
        let parts: Vec<&str> = self.contrast.split(' ').collect();
        parts.as_chunks::<2>().0.iter().filter_map(|[head, value]| Some((*head, value.parse().ok()?))).collect()
    }
}

/// Log in memory, ordered by iteration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    rows: BTreeMap<u64, Row>,
    pseudo_labels: BTreeMap<u64, Confusion>,
}

impl Log {
    /// Adds the step after which `iteration` steps and `seconds` of training are done.
    pub fn push(&mut self, iteration: u64, seconds: f64, stage: Stage, rate: f64, losses: &Losses) {
        let contrast: Vec<String> = losses.contrast.iter().map(|(head, value)| format!("{head} {value:.6}")).collect();
        let row = Row {
            iteration,
            seconds,
            stage: if stage == Stage::WarmUp { 1 } else { 2 },
            rate,
            loss: losses.total,
            scribble: losses.scribble,
            pseudo: losses.pseudo,
            contrast: contrast.join(" "),
            score: None,
        };
        self.rows.insert(iteration, row);
    }

    /// Adds the validation score after `iteration`.
    pub fn push_score(&mut self, iteration: u64, score: f64) {
        if let Some(row) = self.rows.get_mut(&iteration) {
            row.score = Some(score);
        }
    }

    /// Adds the agreement of the pseudo-labels after `iteration` with masks.
    pub fn push_pseudo_labels(&mut self, iteration: u64, confusion: Confusion) {
        self.pseudo_labels.insert(iteration, confusion);
    }

    /// Iterates over the agreement of pseudo-labels with masks, by iteration.
    pub fn pseudo_labels(&self) -> impl Iterator<Item = (u64, Confusion)> {
        self.pseudo_labels.iter().map(|(iteration, confusion)| (*iteration, *confusion))
    }

    /// Returns the training time in seconds at the last iteration.
    pub fn seconds(&self) -> f64 {
        self.rows.last_key_value().map_or(0.0, |(_, row)| row.seconds)
    }

    /// Iterates over the lines of `log.csv`, by iteration.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// Writes `log.csv` and, unless empty, `pseudo_labels.csv`.
    pub fn write(&self, log: &Path, pseudo_labels: &Path) -> Result<()> {
        durable::write(log, &csv_of(self.rows.values())?)?;
        if self.pseudo_labels.is_empty() {
            return Ok(());
        }
        durable::write(pseudo_labels, &csv_of(self.pseudo_labels.iter().map(PseudoLabelRow::from))?)
    }

    /// Reads the lines up to `iteration`, because a run resumed there writes the later lines again. A missing file is an empty log.
    pub fn read(log: &Path, pseudo_labels: &Path, iteration: u64) -> Result<Self> {
        let rows: Vec<Row> = lines_of(log)?;
        let confusions: Vec<PseudoLabelRow> = lines_of(pseudo_labels)?;
        Ok(Self {
            rows: rows.into_iter().filter(|row| row.iteration <= iteration).map(|row| (row.iteration, row)).collect(),
            pseudo_labels: confusions.into_iter().filter(|row| row.iteration <= iteration).map(<(u64, Confusion)>::from).collect(),
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
    /// Largest log that is read, in bytes.
    const MAX_BYTES: u64 = 1 << 30;
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = durable::read(path, MAX_BYTES)?;
    let rows: std::result::Result<Vec<T>, _> = csv::Reader::from_reader(bytes.as_slice()).deserialize().collect();
    rows.doing(|| format!("reading {}", path.display()))
        .hint(|| "the log was edited or damaged: move the file away, and the run continues without its past lines")
}

/// Line of `pseudo_labels.csv`: an iteration and the fields of [`Confusion`].
#[derive(Serialize, Deserialize)]
struct PseudoLabelRow {
    iteration: u64,
    nucleus_as_nucleus: u64,
    nucleus_as_background: u64,
    nucleus_ignored: u64,
    background_as_nucleus: u64,
    background_as_background: u64,
    background_ignored: u64,
}

impl From<(&u64, &Confusion)> for PseudoLabelRow {
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

impl From<PseudoLabelRow> for (u64, Confusion) {
    fn from(row: PseudoLabelRow) -> Self {
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
    fn a_written_log_is_read_back_up_to_an_iteration() {
        let folder = tempfile::tempdir().unwrap();
        let (log, pseudo_labels) = (folder.path().join("log.csv"), folder.path().join("pseudo_labels.csv"));
        let mut written = Log::default();
        for iteration in 1..=4 {
            written.push(iteration, iteration as f64, Stage::Full, 0.5, &Losses { total: 1.25, ..Losses::default() });
        }
        written.push_score(2, 0.75);
        written.push_pseudo_labels(2, Confusion { nucleus_ignored: 3, ..Confusion::default() });
        written.push_pseudo_labels(4, Confusion::default());
        written.write(&log, &pseudo_labels).unwrap();
        assert_eq!(Log::read(&log, &pseudo_labels, 9).unwrap(), written);
        let part = Log::read(&log, &pseudo_labels, 3).unwrap();
        assert_eq!((part.rows().count(), part.pseudo_labels().count(), part.seconds()), (3, 1, 3.0));
        assert_eq!(part.rows().nth(1).unwrap().score, Some(0.75));
        std::fs::write(&log, "iteration\nx\n").unwrap();
        let error = Log::read(&log, &pseudo_labels, 9).unwrap_err();
        assert!(error.to_string().contains("log.csv") && error.hint_text().is_some(), "{error:?}");
    }
}

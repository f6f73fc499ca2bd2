//! `log.csv`: the loss terms of every iteration and the scores of every validation.

use std::collections::BTreeMap;
use std::path::Path;

use models::{Context, Result, artifact};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Progress;
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

/// All lines so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    rows: BTreeMap<u64, Row>,
}

impl Log {
    /// The largest log that is read.
    const MAX_BYTES: u64 = 1 << 30;

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

    /// All lines in order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }

    /// The log as CSV.
    pub fn to_csv(&self) -> Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in self.rows.values() {
            writer.serialize(row)?;
        }
        Ok(writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
    }

    /// Reads the lines up to `iteration`; a run that goes on from there writes the later ones anew. A missing file is an empty log.
    pub fn read(path: &Path, iteration: u64) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let bytes = artifact::read(path, Self::MAX_BYTES)?;
        let rows: std::result::Result<Vec<Row>, _> = csv::Reader::from_reader(bytes.as_slice()).deserialize().collect();
        let rows = rows.doing(|| format!("reading {}", path.display()))?;
        Ok(Self { rows: rows.into_iter().filter(|row| row.iteration <= iteration).map(|row| (row.iteration, row)).collect() })
    }
}

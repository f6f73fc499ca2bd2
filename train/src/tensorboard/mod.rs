//! Event files for TensorBoard: what stands in the logs, and the overlays, by iteration.

mod event;
mod record;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prost::Message as _;
use support::{Context, Result, artifact};

use crate::data::RgbImage;
use crate::data::image_file::png_of_rgb;
use crate::log::{Log, Row};
use event::{Content, Event, Picture, Summary, Value, What};

/// The largest event file that is taken up again.
const MAX_BYTES: u64 = 1 << 32;

/// The event file of a run. Records are appended; no tag gets a step twice.
pub struct EventWriter {
    path: PathBuf,
    /// The last step of every tag.
    last: BTreeMap<String, i64>,
    /// When the run would have begun if it had never paused, in seconds since 1970.
    began: f64,
    /// What the validation score is called.
    score: &'static str,
}

impl EventWriter {
    /// Takes up the file at `path` after `iteration` steps and `seconds`: later records and torn ones are dropped. Without a file, starts one.
    pub fn open(path: &Path, iteration: u64, seconds: f64, score: &'static str) -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let mut board = Self { path: path.to_owned(), last: BTreeMap::new(), began: now - seconds, score };
        let old = if path.exists() && iteration > 0 { artifact::read(path, MAX_BYTES)? } else { Vec::new() };
        let mut kept = Vec::new();
        let first = Event { wall_time: board.began, step: 0, what: Some(What::FileVersion(event::VERSION.into())) };
        record::push(&mut kept, &first.encode_to_vec());
        for payload in record::payloads(&old) {
            let Ok(event) = Event::decode(payload) else { break };
            let Some(What::Summary(summary)) = &event.what else { continue };
            if event.step <= iteration as i64 {
                summary.value.iter().for_each(|value| board.note(&value.tag, event.step));
                record::push(&mut kept, payload);
            }
        }
        artifact::write(path, &kept)?;
        Ok(board)
    }

    /// Appends what the log has beyond the file.
    pub fn follow(&mut self, log: &Log) -> Result<()> {
        let mut bytes = Vec::new();
        for row in log.rows() {
            let values = self.scalars(row);
            self.push(&mut bytes, row.iteration, row.seconds, values);
        }
        let seconds: BTreeMap<u64, f64> = log.rows().map(|row| (row.iteration, row.seconds)).collect();
        for (iteration, confusion) in log.pseudo() {
            let (trusted, right) = confusion.coverage_and_accuracy();
            let values = vec![number("pseudo_labels/trusted", trusted), number("pseudo_labels/right_of_trusted", right)];
            self.push(&mut bytes, iteration, seconds.get(&iteration).copied().unwrap_or(0.0), values);
        }
        self.append(&bytes)
    }

    /// Appends a picture of a sample.
    pub fn picture(&mut self, id: &str, picture: &RgbImage, iteration: u64, seconds: f64) -> Result<()> {
        let content = Picture { height: picture.height as i32, width: picture.width as i32, colorspace: 3, encoded: png_of_rgb(picture)? };
        let value = Value { tag: format!("samples/{id}"), content: Some(Content::Picture(content)) };
        let mut bytes = Vec::new();
        self.push(&mut bytes, iteration, seconds, vec![value]);
        self.append(&bytes)
    }

    fn scalars(&self, row: &Row) -> Vec<Value> {
        let mut values =
            vec![number("loss/total", row.loss), number("loss/scribbles", row.scribble), number("learning_rate/factor", row.rate)];
        if row.stage == 2 {
            values.push(number("loss/pseudo_labels", row.pseudo));
        }
        values.extend(row.terms().into_iter().map(|(head, value)| number(&format!("loss/contrast_{head}"), value)));
        values.extend(row.score.map(|score| number(&format!("validation/{}", self.score), score)));
        values
    }

    /// One record with those values whose tag has not come this far.
    fn push(&mut self, bytes: &mut Vec<u8>, iteration: u64, seconds: f64, values: Vec<Value>) {
        let step = iteration as i64;
        let is_new = |value: &Value| self.last.get(&value.tag).is_none_or(|last| *last < step);
        let value: Vec<Value> = values.into_iter().filter(is_new).collect();
        if value.is_empty() {
            return;
        }
        value.iter().for_each(|value| self.note(&value.tag, step));
        let event = Event { wall_time: self.began + seconds, step, what: Some(What::Summary(Summary { value })) };
        record::push(bytes, &event.encode_to_vec());
    }

    fn note(&mut self, tag: &str, step: i64) {
        let last = self.last.entry(tag.to_owned()).or_insert(step);
        *last = step.max(*last);
    }

    fn append(&self, bytes: &[u8]) -> Result<()> {
        let doing = || format!("writing {}", self.path.display());
        OpenOptions::new().append(true).open(&self.path).and_then(|mut file| file.write_all(bytes)).doing(doing)
    }
}

fn number(tag: &str, value: f64) -> Value {
    Value { tag: tag.to_owned(), content: Some(Content::Number(value as f32)) }
}

/// What an event file holds, in its order: tag, step and number (`None`: a picture). Reads up to the first damaged record.
pub fn read(path: &Path) -> Result<Vec<(String, i64, Option<f32>)>> {
    let bytes = artifact::read(path, MAX_BYTES)?;
    let mut found = Vec::new();
    for payload in record::payloads(&bytes) {
        let event = Event::decode(payload).doing(|| format!("reading {}", path.display()))?;
        let Some(What::Summary(summary)) = event.what else { continue };
        for value in summary.value {
            let number = match value.content {
                Some(Content::Number(number)) => Some(number),
                _ => None,
            };
            found.push((value.tag, event.step, number));
        }
    }
    Ok(found)
}

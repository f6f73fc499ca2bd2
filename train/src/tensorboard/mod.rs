//! Event files for TensorBoard with the logged values and the overlays of a run, by iteration.

mod event;
mod record;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use prost::Message as _;
use support::{Context, Result, durable};

use crate::data::RgbImage;
use crate::data::image_file::png_of_rgb;
use crate::log::{Log, Row};
use event::{Content, Event, Payload, Picture, Summary, Value};

/// Largest event file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 32;

/// Writer of the event file of a run. Records are appended, and each tag gets each step at most once.
pub struct EventWriter {
    path: PathBuf,
    /// Last step written, by tag.
    last_steps: BTreeMap<String, i64>,
    /// Start of the run in seconds since 1970, as if there had been no pause between its sessions.
    run_start: f64,
    /// Name of the validation score.
    metric: &'static str,
}

impl EventWriter {
    /// Opens the file at `path` for a run with `iteration` steps and `seconds` of training done. Later and damaged records are dropped; a
    /// missing file is created.
    pub fn open(path: &Path, iteration: u64, seconds: f64, metric: &'static str) -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let mut writer = Self { path: path.to_owned(), last_steps: BTreeMap::new(), run_start: now - seconds, metric };
        let old = if path.exists() && iteration > 0 { durable::read(path, MAX_BYTES)? } else { Vec::new() };
        let mut kept = Vec::new();
        let first = Event { wall_time: writer.run_start, step: 0, payload: Some(Payload::FileVersion(event::VERSION.into())) };
        record::push(&mut kept, &first.encode_to_vec());
        for payload in record::payloads(&old) {
            let Ok(event) = Event::decode(payload) else { break };
            let Some(Payload::Summary(summary)) = &event.payload else { continue };
            if event.step <= iteration as i64 {
                summary.value.iter().for_each(|value| writer.note_step(&value.tag, event.step));
                record::push(&mut kept, payload);
            }
        }
        durable::write(path, &kept)?;
        Ok(writer)
    }

    /// Appends the log entries that the file does not have yet.
    pub fn append_log(&mut self, log: &Log) -> Result<()> {
        let mut bytes = Vec::new();
        for row in log.rows() {
            let values = self.scalars(row);
            self.push(&mut bytes, row.iteration, row.seconds, values);
        }
        let seconds: BTreeMap<u64, f64> = log.rows().map(|row| (row.iteration, row.seconds)).collect();
        for (iteration, confusion) in log.pseudo_labels() {
            let (coverage, accuracy) = confusion.coverage_and_accuracy();
            let values = vec![scalar("pseudo_labels/trusted", coverage), scalar("pseudo_labels/right_of_trusted", accuracy)];
            self.push(&mut bytes, iteration, seconds.get(&iteration).copied().unwrap_or(0.0), values);
        }
        self.append(&bytes)
    }

    /// Appends the overlay of a sample.
    pub fn append_picture(&mut self, id: &str, picture: &RgbImage, iteration: u64, seconds: f64) -> Result<()> {
        let content = Picture { height: picture.height as i32, width: picture.width as i32, colorspace: 3, encoded: png_of_rgb(picture)? };
        let value = Value { tag: format!("samples/{id}"), content: Some(Content::Picture(content)) };
        let mut bytes = Vec::new();
        self.push(&mut bytes, iteration, seconds, vec![value]);
        self.append(&bytes)
    }

    /// Returns the values of one line of the log.
    fn scalars(&self, row: &Row) -> Vec<Value> {
        let mut values =
            vec![scalar("loss/total", row.loss), scalar("loss/scribbles", row.scribble), scalar("learning_rate/factor", row.rate)];
        if row.stage == 2 {
            values.push(scalar("loss/pseudo_labels", row.pseudo));
        }
        values.extend(row.terms().into_iter().map(|(head, value)| scalar(&format!("loss/contrast_{head}"), value)));
        values.extend(row.score.map(|score| scalar(&format!("validation/{}", self.metric), score)));
        values
    }

    /// Adds one record with the values whose tags do not have this step yet.
    fn push(&mut self, bytes: &mut Vec<u8>, iteration: u64, seconds: f64, values: Vec<Value>) {
        let step = iteration as i64;
        let is_new = |value: &Value| self.last_steps.get(&value.tag).is_none_or(|last| *last < step);
        let value: Vec<Value> = values.into_iter().filter(is_new).collect();
        if value.is_empty() {
            return;
        }
        value.iter().for_each(|value| self.note_step(&value.tag, step));
        let event = Event { wall_time: self.run_start + seconds, step, payload: Some(Payload::Summary(Summary { value })) };
        record::push(bytes, &event.encode_to_vec());
    }

    fn note_step(&mut self, tag: &str, step: i64) {
        let last = self.last_steps.entry(tag.to_owned()).or_insert(step);
        *last = step.max(*last);
    }

    fn append(&self, bytes: &[u8]) -> Result<()> {
        let doing = || format!("writing {}", self.path.display());
        OpenOptions::new().append(true).open(&self.path).and_then(|mut file| file.write_all(bytes)).doing(doing)
    }
}

fn scalar(tag: &str, value: f64) -> Value {
    Value { tag: tag.to_owned(), content: Some(Content::Number(value as f32)) }
}

/// Reads tag, step and scalar (`None` for an image) of all values in an event file, in order, up to the first damaged record.
pub fn read(path: &Path) -> Result<Vec<(String, i64, Option<f32>)>> {
    let bytes = durable::read(path, MAX_BYTES)?;
    let mut values = Vec::new();
    for payload in record::payloads(&bytes) {
        let event = Event::decode(payload).doing(|| format!("reading {}", path.display()))?;
        let Some(Payload::Summary(summary)) = event.payload else { continue };
        for value in summary.value {
            let scalar = match value.content {
                Some(Content::Number(number)) => Some(number),
                _ => None,
            };
            values.push((value.tag, event.step, scalar));
        }
    }
    Ok(values)
}

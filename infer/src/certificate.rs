//! What was tried on this machine and how it came out, as a dated file that results can cite.

use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;
use support::{Result, artifact};

use crate::golden::{Outcome, Tolerance};
use crate::runtime::Precision;
use crate::segmenter::Model;
use crate::signature::Signed;
use crate::verify::Report;

/// A verification that was passed.
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    /// When, UTC.
    pub date: String,
    /// The model's name on its card.
    pub model: String,
    /// SHA-256 of its file.
    pub sha256: String,
    /// The signed comment, where a key was given.
    pub signed: Option<String>,
    /// What ran it.
    pub device: String,
    /// The arithmetic of the file, and of the session.
    pub precision: [&'static str; 2],
    /// Whose kernels, with their version or instruction set.
    pub kernels: String,
    /// This program.
    pub program: String,
    /// Operating system and processor.
    pub machine: String,
    /// How the golden tiles came out; `None` where the model carries none: then only noise was tried.
    pub golden: Option<Outcome>,
    /// What was allowed.
    pub tolerance: Option<Tolerance>,
    /// Seconds for 256 x 256 pixels.
    pub seconds: f64,
}

impl Certificate {
    /// The certificate of a report.
    pub fn new(model: &Model, report: &Report, precision: Precision, signed: Option<&Signed>) -> Self {
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            model: model.card.name.clone(),
            sha256: model.sha256.clone(),
            signed: signed.map(|signed| signed.comment.clone()),
            device: report.device.to_string(),
            precision: [model.card.form.precision.name(), precision.name()],
            kernels: report.kernels.clone(),
            program: format!("infer {}", env!("CARGO_PKG_VERSION")),
            machine: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            golden: report.golden.map(|(outcome, _)| outcome),
            tolerance: report.golden.map(|(_, tolerance)| tolerance),
            seconds: report.time.as_secs_f64(),
        }
    }

    /// Writes it as JSON, atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        artifact::write(path, serde_json::to_string_pretty(self)?.as_bytes())
    }
}

//! Certificate of a verification: the checks and their results on this machine, as a dated file that reports can cite.

use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;
use support::{Result, durable};

use crate::golden::{Outcome, Tolerance};
use crate::model::Model;
use crate::runtime::Precision;
use crate::signature::Signed;
use crate::verify::Report;

/// Record of a verification that passed.
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    /// Date and time in UTC, RFC 3339.
    pub date: String,
    /// Name on the model card.
    pub model: String,
    /// SHA-256 of the model file.
    pub sha256: String,
    /// Signed comment, if a signature was checked.
    pub signed: Option<String>,
    /// Device that ran the model.
    pub device: String,
    /// Arithmetic of the file, and of the session.
    pub precision: [&'static str; 2],
    /// Kernels, with version or instruction set.
    pub kernels: String,
    /// Name and version of this program.
    pub program: String,
    /// Operating system and processor.
    pub machine: String,
    /// Result of the golden tiles; `None` if the model has none and only noise images were checked.
    pub golden: Option<Outcome>,
    /// Tolerance for the golden tiles.
    pub tolerance: Option<Tolerance>,
    /// Seconds for an image of 256 x 256 pixels.
    pub seconds: f64,
}

impl Certificate {
    /// Returns the certificate of a report.
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

    /// Checks that a certificate may be written to `path`: the file is no input, and a file of this name is an earlier certificate.
    pub fn check_output(path: &Path, inputs: &[&Path]) -> Result<()> {
        /// Size limit of a certificate in bytes.
        const MAX_BYTES: u64 = 1 << 20;
        let is_certificate = |bytes: Vec<u8>| {
            let fields = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&bytes);
            fields.is_ok_and(|fields| ["date", "sha256", "kernels", "machine"].iter().all(|key| fields.contains_key(*key)))
        };
        durable::check_output(path, inputs, |old| durable::read(old, MAX_BYTES).is_ok_and(is_certificate))
    }

    /// Writes the certificate as JSON, atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        durable::write(path, serde_json::to_string_pretty(self)?.as_bytes())
    }
}

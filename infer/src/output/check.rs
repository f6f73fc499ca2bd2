//! Comparison of the output files of a slide with the sizes and hashes in its summary.

use std::path::Path;

use support::{Error, Result, durable};

use super::{OutputFile, SUMMARY, Summary};

/// Reads the summary of a folder `OUT/SLIDE/` and compares every output file with it.
///
/// # Errors
/// No summary, a missing file, or a file whose contents have changed; the error names all of these files.
pub fn check(folder: &Path) -> Result<Summary> {
    let summary = Summary::read(&folder.join(SUMMARY))?;
    let faults: Vec<String> = summary.outputs.iter().filter_map(|output| fault(folder, output)).collect();
    if faults.is_empty() {
        return Ok(summary);
    }
    let error = Error::new(format!("{}: {}", folder.display(), faults.join("; ")));
    Err(error.hint("segment the slide again; infer segment --resume keeps results that are undamaged"))
}

/// Returns the difference of a file to its description; `None` if there is none.
fn fault(folder: &Path, output: &OutputFile) -> Option<String> {
    let name = &output.name;
    let path = folder.join(name);
    match std::fs::metadata(&path) {
        Err(error) => Some(format!("{name} cannot be read ({error})")),
        Ok(info) if info.len() != output.bytes => Some(format!("{name} has {} bytes, expected {}", info.len(), output.bytes)),
        Ok(_) => match durable::sha256_of_file(&path) {
            Err(error) => Some(format!("{name} cannot be read ({error})")),
            Ok(sha256) => (sha256 != output.sha256).then(|| format!("the contents of {name} have changed")),
        },
    }
}

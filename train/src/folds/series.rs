//! Finished runs of an earlier call, shown beside those of the current one.

use std::path::Path;

use support::{Context, Result, bail, durable};

use super::FoldScores;
use crate::config::Method;
use crate::scored_run::MAX_SCORES_BYTES;

/// Named set of finished runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the table.
    pub name: String,
    /// Runs, ordered by method and folder name.
    pub finished: Vec<FoldScores>,
}

impl Series {
    /// Reads `METHOD/*/scores.json` of a folder; the series gets the folder's name.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut finished = Vec::new();
        for method in Method::ALL {
            let runs = folder.join(method.name());
            let Ok(entries) = std::fs::read_dir(&runs) else { continue };
            let mut paths = entries.map(|entry| Ok(entry?.path().join("scores.json"))).collect::<std::io::Result<Vec<_>>>()?;
            paths.sort();
            for path in paths.iter().filter(|path| path.exists()) {
                let bytes = durable::read(path, MAX_SCORES_BYTES)?;
                finished.push(serde_json::from_slice(&bytes).doing(|| format!("reading {}", path.display()))?);
            }
        }
        if finished.is_empty() {
            bail!("--beside {}: expected METHOD/fold-K/scores.json, found none", folder.display(); hint: "name the folder that an earlier `train folds -o FOLDER` wrote");
        }
        let name = folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, finished })
    }
}

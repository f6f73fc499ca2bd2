//! The finished runs of an earlier call, to stand beside those of this one.

use std::path::Path;

use support::{Context, Result, artifact, bail};

use super::FoldScores;
use crate::config::Method;

/// Finished runs under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the table calls them.
    pub name: String,
    /// The runs.
    pub finished: Vec<FoldScores>,
}

impl Series {
    /// Reads `METHOD/*/scores.json` of a folder, by method and then by name; the folder's name is the series'.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut finished = Vec::new();
        for method in Method::ALL {
            let runs = folder.join(method.name());
            let Ok(entries) = std::fs::read_dir(&runs) else { continue };
            let mut paths = entries.map(|entry| Ok(entry?.path().join("scores.json"))).collect::<std::io::Result<Vec<_>>>()?;
            paths.sort();
            for path in paths.iter().filter(|path| path.exists()) {
                let bytes = artifact::read(path, 1 << 30)?;
                finished.push(serde_json::from_slice(&bytes).doing(|| format!("reading {}", path.display()))?);
            }
        }
        if finished.is_empty() {
            bail!("--beside {}: there is no METHOD/fold-K/scores.json", folder.display(); hint: "name the folder that an earlier `train folds -o FOLDER` wrote");
        }
        let name = folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, finished })
    }
}

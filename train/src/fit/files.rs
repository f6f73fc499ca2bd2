//! The folder of a run.

use std::path::{Path, PathBuf};

use models::{Result, artifact, bail};

use crate::config::RunConfig;

/// Paths in the folder of a run.
pub struct Files {
    /// `last.safetensors`: training goes on from here.
    pub last: PathBuf,
    /// `best.safetensors`: what is exported.
    pub best: PathBuf,
    /// `log.csv`.
    pub log: PathBuf,
    /// `overlays/`.
    pub overlays: PathBuf,
}

impl Files {
    /// Prepares the folder: a new run must not fall on an old one, a resumed one needs it.
    pub fn open(folder: &Path, config: &RunConfig, resume: bool) -> Result<Self> {
        let at = |name: &str| folder.join(name);
        let files = Self { last: at("last.safetensors"), best: at("best.safetensors"), log: at("log.csv"), overlays: at("overlays") };
        match (resume, files.last.exists()) {
            (false, true) => {
                bail!("{}: there is a run here already", folder.display(); hint: "go on with it by --resume, or choose another folder")
            }
            (true, false) => bail!("{}: no last.safetensors to resume from", folder.display(); hint: "start the run without --resume"),
            (false, false) => artifact::write(&at("config.toml"), config.to_toml().as_bytes())?,
            (true, true) => {}
        }
        Ok(files)
    }
}

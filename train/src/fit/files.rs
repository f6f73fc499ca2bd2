//! The folder of a run.

use std::path::{Path, PathBuf};

use support::{Result, artifact, bail};

use crate::config::RunConfig;

/// Paths in the folder of a run.
pub struct Files {
    /// `last.safetensors`: training goes on from here.
    pub last: PathBuf,
    /// `best.safetensors`: what is exported.
    pub best: PathBuf,
    /// `log.csv`.
    pub log: PathBuf,
    /// `pseudo_labels.csv`: how far pseudo-labels agree with masks, where there are any.
    pub pseudo: PathBuf,
    /// `data.json`: what was trained on.
    pub data: PathBuf,
    /// `overlays/`.
    pub overlays: PathBuf,
    /// `report.html`.
    pub report: PathBuf,
    /// `tensorboard/run.tfevents`, if asked for.
    pub board: PathBuf,
}

impl Files {
    /// The files of the run in `folder`.
    pub fn of(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name);
        Self {
            last: at("last.safetensors"),
            best: at("best.safetensors"),
            log: at("log.csv"),
            pseudo: at("pseudo_labels.csv"),
            data: at("data.json"),
            overlays: at("overlays"),
            report: at("report.html"),
            board: at("tensorboard").join("run.tfevents"),
        }
    }

    /// Prepares the folder: a new run must not fall on an old one, a resumed one needs it.
    pub fn open(folder: &Path, config: &RunConfig, resume: bool) -> Result<Self> {
        let files = Self::of(folder);
        match (resume, files.last.exists()) {
            (false, true) => {
                bail!("{}: there is a run here already", folder.display(); hint: "go on with it by --resume, or choose another folder")
            }
            (true, false) => bail!("{}: no last.safetensors to resume from", folder.display(); hint: "start the run without --resume"),
            (false, false) => artifact::write(&folder.join("config.toml"), config.to_toml().as_bytes())?,
            (true, true) => {}
        }
        Ok(files)
    }
}

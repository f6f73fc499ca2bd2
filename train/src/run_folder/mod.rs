//! Folder of a training run: paths of its files, and the summary of its data.

mod data_summary;

use std::path::{Path, PathBuf};

use support::{Result, bail, durable};

use crate::config::{Profile, RunConfig};
pub use data_summary::{DataSummary, SplitSummary, validation_metric};

/// Paths in the folder of a run.
pub struct RunFolder {
    /// The folder.
    pub path: PathBuf,
    /// `config.toml`: the complete configuration.
    pub config: PathBuf,
    /// `last.safetensors`: checkpoint from which training resumes.
    pub last: PathBuf,
    /// `best.safetensors`: checkpoint that is exported.
    pub best: PathBuf,
    /// `log.csv`: loss terms per iteration, scores per validation.
    pub log: PathBuf,
    /// `pseudo_labels.csv`: agreement of pseudo-labels with masks, for images that have masks.
    pub pseudo_labels: PathBuf,
    /// `data.json`: the [`DataSummary`].
    pub data: PathBuf,
    /// `overlays/`: one picture per image.
    pub overlays: PathBuf,
    /// `report.html`.
    pub report: PathBuf,
    /// `tensorboard/run.tfevents`, written with `run.tensorboard`.
    pub events: PathBuf,
}

impl RunFolder {
    /// Names the files of the run in `folder`, without touching the disk.
    pub fn at(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name);
        Self {
            path: folder.to_owned(),
            config: at("config.toml"),
            last: at("last.safetensors"),
            best: at("best.safetensors"),
            log: at("log.csv"),
            pseudo_labels: at("pseudo_labels.csv"),
            data: at("data.json"),
            overlays: at("overlays"),
            report: at("report.html"),
            events: at("tensorboard").join("run.tfevents"),
        }
    }

    /// Prepares the folder: writes `config.toml` for a new run; `resume` leaves the folder as it is.
    ///
    /// # Errors
    /// A checkpoint of another run or a hand-written `config.toml` exists in a new run, or `last.safetensors` is missing in a resumed one.
    pub fn prepare(folder: &Path, config: &RunConfig, resume: bool) -> Result<Self> {
        let run = Self::at(folder);
        // A run that was killed before its first save has left its configuration, and perhaps its best weights.
        let is_same = || std::fs::read_to_string(&run.config).is_ok_and(|text| text == config.to_toml());
        match (resume, run.last.exists() || (!resume && run.best.exists() && !is_same())) {
            (false, true) => {
                bail!("{}: there is a run here already", folder.display(); hint: "continue it with --resume, or choose another folder")
            }
            (true, false) => bail!("{}: no last.safetensors to resume from", folder.display(); hint: "start the run without --resume"),
            (false, false) => {
                durable::check_output(&run.config, &[], is_complete_configuration)?;
                durable::write(&run.config, config.to_toml().as_bytes())?;
            }
            (true, true) => {}
        }
        Ok(run)
    }
}

/// Reports whether a file is a configuration as [`RunFolder::prepare`] writes it, without comments and with every key.
fn is_complete_configuration(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    RunConfig::from_toml(&text, Profile::Scratch, &[] as &[&str]).is_ok_and(|config| config.to_toml() == text)
}

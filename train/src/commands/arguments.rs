//! Arguments that several commands share.

use std::path::Path;
use std::str::FromStr;

use clap::Args;
use support::{Error, Result};
use train::config::{DeviceChoice, Profile, RunConfig};

/// Values of the configuration from the command line: a profile, which the configuration file overrides, and single keys, which override
/// the file.
#[derive(Args)]
pub struct ConfigArgs {
    /// Take keys that the configuration leaves out from a profile: default, scratch, paper, paper_monuseg
    #[arg(long, default_value = "default", value_parser = choice::<Profile>)]
    pub profile: Profile,
    /// Set one key, for example --set run.iterations=2000; repeatable
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
}

impl ConfigArgs {
    /// Reads the configuration in `path`, completed by the profile and changed by `--set`.
    pub fn load(&self, path: &Path) -> Result<RunConfig> {
        RunConfig::load(path, self.profile, &self.sets)
    }
}

/// Device of a command that runs a trained network.
#[derive(Args)]
pub struct DeviceArgs {
    /// Run the network on auto, cpu or cuda
    #[arg(long, default_value = "auto", value_parser = choice::<DeviceChoice>)]
    pub device: DeviceChoice,
}

/// Parses a named value; the error lists the names and carries the hint.
pub fn choice<T: FromStr<Err = Error>>(text: &str) -> std::result::Result<T, String> {
    text.parse().map_err(|error: Error| format!("{error:?}"))
}

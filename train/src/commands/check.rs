//! `train check`

use std::path::PathBuf;

use clap::Args;
use support::{Result, bail, print_text};
use train::check::{audit, time};

use super::arguments::ConfigArgs;

#[derive(Args)]
pub struct CheckArgs {
    /// Configuration of the run (TOML)
    config: PathBuf,
    #[command(flatten)]
    values: ConfigArgs,
    /// Skip the timing of two training steps
    #[arg(long)]
    no_timing: bool,
}

pub fn run(args: &CheckArgs) -> Result<()> {
    let config = args.values.load(&args.config)?;
    let mut audit = audit(&config)?;
    if !args.no_timing && audit.is_sound() {
        audit.time = Some(time(&audit.images, &config)?);
    }
    print_text!("{}", audit.to_text());
    if !audit.is_sound() {
        bail!("{} problems: training would not start", audit.problems.len());
    }
    Ok(())
}

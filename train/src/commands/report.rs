//! `train report`

use std::path::PathBuf;

use clap::Args;
use support::{Result, print_line};
use train::report;
use train::run_folder::RunFolder;

#[derive(Args)]
pub struct ReportArgs {
    /// Folder of the run
    run: PathBuf,
}

pub fn run(args: &ReportArgs) -> Result<()> {
    report::write(&args.run)?;
    print_line!("wrote {}", RunFolder::at(&args.run).report.display());
    Ok(())
}

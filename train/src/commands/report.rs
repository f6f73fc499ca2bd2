//! `train report`

use std::path::PathBuf;

use clap::Args;
use support::Result;
use train::report;
use train::run_folder::RunFolder;

#[derive(Args)]
pub struct ReportArgs {
    /// Folder of the run
    run: PathBuf,
}

pub fn run(args: &ReportArgs) -> Result<()> {
    report::write(&args.run)?;
    println!("wrote {}", RunFolder::at(&args.run).report.display());
    Ok(())
}

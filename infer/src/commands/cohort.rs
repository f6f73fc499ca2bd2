//! `infer cohort`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use infer::cohort::{self, Cohort};
use infer::output::summary::Status;
use support::{Result, durable, print_text};

use super::INCOMPLETE;

#[derive(Args)]
pub struct CohortArgs {
    /// Folder that `infer segment -o` wrote to
    out: PathBuf,
}

pub fn run(args: &CohortArgs) -> Result<ExitCode> {
    let cohort = Cohort::read(&args.out)?;
    durable::write(&args.out.join(cohort::FILE), &cohort.to_csv()?)?;
    print_text!("{}", cohort.to_markdown());
    let is_complete = cohort.unfinished.is_empty() && cohort.done.iter().all(|(_, summary)| summary.status == Status::Complete);
    Ok(ExitCode::from(if is_complete { 0 } else { INCOMPLETE }))
}

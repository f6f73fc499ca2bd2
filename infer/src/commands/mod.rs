//! Commands of the program `infer`: one module for each, named as the command is typed, with its arguments, its help texts and a thin
//! `run` that calls the library and prints.
#![allow(clippy::doc_markdown, reason = "doc comments of arguments are help texts, which are printed as they are")]

mod arguments;
mod check;
mod cohort;
mod doctor;
mod runtime;
mod segment;
mod slide_server;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;
use support::Result;

/// Exit code of incomplete results: more than 5 % of a slide could not be read, or a slide is not finished.
const INCOMPLETE: u8 = 3;

/// Command as typed, with its arguments.
#[derive(Subcommand)]
pub enum Command {
    /// Find every nucleus of slides
    ///
    /// Writes OUT/SLIDE/ with nuclei.geojson.gz (QuPath), nuclei.csv, mask.tif, probability.tif, labels.png, overlay.png, quality.tif and,
    /// last, summary.json.
    Segment(Box<segment::SegmentArgs>),
    /// Collect the results of many slides in OUT/cohort.csv, and as Markdown on stdout
    ///
    /// Exit code 3 if a slide is incomplete or not finished.
    Cohort(cohort::CohortArgs),
    /// Check that the files of results are those that were written
    Check(check::CheckArgs),
    /// Check that a model gives sound results on this machine
    Verify(verify::VerifyArgs),
    /// Install or list the native libraries
    #[command(subcommand)]
    Runtime(runtime::RuntimeCommand),
    /// Report what is installed, what is missing, and the commands that install it
    Doctor(doctor::DoctorArgs),
    /// Read a slide by OpenSlide for another process, over stdin and stdout
    #[command(hide = true)]
    SlideServer(slide_server::SlideServerArgs),
}

impl Command {
    /// Runs the command and returns the process's exit code.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Segment(args) => return segment::run(&args),
            Self::Cohort(args) => return cohort::run(&args),
            Self::Check(args) => check::run(&args)?,
            Self::Verify(args) => verify::run(&args)?,
            Self::Runtime(command) => runtime::run(&command)?,
            Self::Doctor(args) => doctor::run(&args)?,
            Self::SlideServer(args) => slide_server::run(&args)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

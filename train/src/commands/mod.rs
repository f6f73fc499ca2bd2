//! Commands of the program `train`: one module for each, named as the command is typed, with its arguments, its help texts and a thin
//! `run` that calls the library and prints.
#![allow(clippy::doc_markdown, reason = "doc comments of arguments are help texts, which are printed as they are")]

mod arguments;
mod check;
mod compare;
mod evaluate;
mod export_scribbles;
mod fit;
mod folds;
mod import;
mod init;
mod label_budget;
mod report;
mod scribble;
mod suggest;
mod weights;

use std::process::ExitCode;

use clap::Subcommand;
use support::console;

use crate::interrupt::until_signal;

/// Command as typed, with its arguments.
#[derive(Subcommand)]
pub enum Command {
    /// Write a commented configuration for a data folder
    Init(init::InitArgs),
    /// Check a data folder against a configuration without training
    Check(check::CheckArgs),
    /// Train a network
    Fit(fit::FitArgs),
    /// Score a trained network on images with instance labels
    Evaluate(evaluate::EvaluateArgs),
    /// Write report.html of a run again
    Report(report::ReportArgs),
    /// Rank the regions of the training images in which more strokes would help most
    Suggest(suggest::SuggestArgs),
    /// Train several methods over cross-validation folds and tabulate their scores
    Folds(folds::FoldsArgs),
    /// Compare trained networks on labelled images: scores, differences, curves and outlines
    Compare(compare::CompareArgs),
    /// Train with fewer and more labels and plot scores against the fraction of labelled pixels
    LabelBudget(label_budget::LabelBudgetArgs),
    /// Make scribbles from instance labels: skeletons or simulated strokes
    Scribble(scribble::ScribbleArgs),
    /// Write scribbles of any format as GeoJSON for QuPath
    ExportScribbles(export_scribbles::ExportScribblesArgs),
    /// Convert a PyTorch state dict (.pth, .pt) to safetensors
    Import(import::ImportArgs),
    /// Fetch the ImageNet weights of an encoder
    Weights(weights::WeightsArgs),
    /// Read a PyTorch file within resource limits (the child process of `import`)
    #[command(hide = true)]
    ReadPth(import::ImportArgs),
}

impl Command {
    /// Runs the command and returns the process's exit code.
    pub fn run(self) -> ExitCode {
        console::exit(match self {
            Self::Fit(args) => return until_signal(|stop| fit::run(&args, stop)),
            Self::Folds(args) => return until_signal(|stop| folds::run(args, stop)),
            Self::LabelBudget(args) => return until_signal(|stop| label_budget::run(args, stop)),
            Self::Init(args) => init::run(args),
            Self::Check(args) => check::run(&args),
            Self::Scribble(args) => scribble::run(&args),
            Self::Suggest(args) => suggest::run(args),
            Self::Report(args) => report::run(&args),
            Self::ExportScribbles(args) => export_scribbles::run(&args),
            Self::Evaluate(args) => evaluate::run(args),
            Self::Compare(args) => compare::run(args),
            Self::Import(args) => import::run(&args),
            Self::Weights(args) => weights::run(&args),
            Self::ReadPth(args) => import::run_child(&args),
        })
    }
}

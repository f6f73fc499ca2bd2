//! `train folds`

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use support::console::Console;
use support::{Result, print_text};
use train::config::Method;
use train::folds::{self, FoldsOptions};

use super::arguments::{ConfigArgs, choice};
use crate::interrupt::Completion;

#[derive(Args)]
pub struct FoldsArgs {
    /// Configuration of the runs (TOML); method.name and data.fold are set by this command
    config: PathBuf,
    /// Write runs and tables to this folder; give the same command again to continue
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    values: ConfigArgs,
    /// Compare these methods: pce, s2l, r1, r4, both, full
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = choice::<Method>, default_value = "pce,s2l,r1,r4,both,full")]
    methods: Vec<Method>,
    /// Run only these folds, counted from 0 [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    folds: Vec<usize>,
    /// Run every fold with each of these seeds [default: run.seed]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    seeds: Vec<u64>,
    /// Include the finished runs in the folder of an earlier call, and differences from their methods; repeatable
    #[arg(long, value_name = "DIR")]
    beside: Vec<PathBuf>,
    /// Divide this training time equally among all runs, in minutes [default: run.minutes for each run]
    #[arg(long, value_name = "MINUTES")]
    budget_minutes: Option<f64>,
}

pub fn run(args: FoldsArgs, stop: &AtomicBool) -> Result<Completion> {
    let options = FoldsOptions {
        config: args.values.load(&args.config)?,
        out: args.out,
        methods: args.methods,
        folds: args.folds,
        seeds: args.seeds,
        beside: args.beside,
        budget_minutes: args.budget_minutes,
    };
    let Some(table) = folds::run(&options, &Console::new(), stop)? else {
        tracing::warn!("stopped; give the same command again to continue");
        return Ok(Completion::Interrupted);
    };
    print_text!("{}", table.to_markdown());
    Ok(Completion::Finished)
}

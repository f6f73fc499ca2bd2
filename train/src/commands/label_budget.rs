//! `train label-budget`

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use support::console::Console;
use support::{Result, print_text};
use train::label_budget::{self, LabelBudgetOptions};

use super::arguments::ConfigArgs;
use crate::interrupt::Completion;

#[derive(Args)]
pub struct LabelBudgetArgs {
    /// Configuration of the runs (TOML); its data folder needs labels/ for every image and test images (index.csv or data.fold)
    config: PathBuf,
    /// Write data folders, runs, table and plot to this folder; give the same command again to continue
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    values: ConfigArgs,
    /// Train on automatic scribbles of these fractions of the skeletons, in per cent
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "10,30,50,100", value_parser = clap::value_parser!(u32).range(1..=100))]
    ratios: Vec<u32>,
    /// Train on simulated strokes on this fraction of the nuclei, 0 to 1; 0 leaves this run out
    #[arg(long, value_name = "FRACTION", default_value_t = 0.5)]
    strokes: f64,
    /// Leave out the run on complete masks
    #[arg(long)]
    without_full: bool,
    /// Seed the scribbles
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    scribble_seed: u64,
}

pub fn run(args: LabelBudgetArgs, stop: &AtomicBool) -> Result<Completion> {
    let options = LabelBudgetOptions {
        config: args.values.load(&args.config)?,
        out: args.out,
        ratios: args.ratios,
        strokes: args.strokes,
        full: !args.without_full,
        scribble_seed: args.scribble_seed,
    };
    let Some(table) = label_budget::run(&options, &Console::new(), stop)? else {
        tracing::warn!("stopped; give the same command again to continue");
        return Ok(Completion::Interrupted);
    };
    print_text!("{table}");
    Ok(Completion::Finished)
}

//! `train import`, and `train read-pth`, which it runs as a child process

use std::path::PathBuf;

use clap::Args;
use support::{Result, print_line};
use train::import::{import, read_pth};

#[derive(Args)]
pub struct ImportArgs {
    /// File written by torch.save
    file: PathBuf,
    /// Write this safetensors file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Take the state dict from this entry of the file [default: the file itself, state_dict, model_state_dict, model or net]
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
}

pub fn run(args: &ImportArgs) -> Result<()> {
    let imported = import(&args.file, &args.output, args.key.as_deref())?;
    print_line!("{}\t{} arrays, {} numbers", args.output.display(), imported.arrays, imported.values);
    Ok(())
}

/// Reads the file in this process, which limits its own memory and time first.
pub fn run_child(args: &ImportArgs) -> Result<()> {
    read_pth(&args.file, &args.output, args.key.as_deref())
}

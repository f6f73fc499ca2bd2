//! `infer verify`

use std::path::PathBuf;

use clap::Args;
use infer::certificate::Certificate;
use infer::choose::{self, Chosen};
use infer::signature;
use models::card::Parity;
use support::{Result, print_line};

use super::arguments::DeviceArgs;

#[derive(Args)]
pub struct VerifyArgs {
    /// Model file (.onnx)
    model: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
    /// Require a signature by this public key [default: trusted.pub beside the program, if it exists]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Write the checks and their results to this file, as JSON
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

pub fn run(args: &VerifyArgs) -> Result<()> {
    if let Some(path) = &args.certificate {
        let key = args.key.as_deref().unwrap_or(&args.model);
        Certificate::check_output(path, &[&args.model, key, &signature::path_of(&args.model)])?;
    }
    let (model, signed) = signature::open(&args.model, args.key.as_deref())?;
    let Chosen { mut segmenter, options, golden } = choose::open(&model, &args.device.options(), args.device.precision)?;
    let report = infer::verify::on_noise(&model, &mut segmenter, golden)?;
    let (low, high) = report.range;
    print_line!(
        "{}: sound on {} (probabilities {low:.4} to {high:.4}, {:.0?} for 256 x 256)",
        args.model.display(),
        report.device,
        report.time
    );
    match &report.golden {
        Some((outcome, _)) => {
            let Parity { max_change, flipped_share, .. } = outcome.difference;
            print_line!(
                "{} golden tiles: probabilities move by at most {max_change:.4}, {:.4} % of pixels change side, {} of {} nuclei found",
                outcome.tiles,
                100.0 * flipped_share,
                outcome.nuclei_found,
                outcome.nuclei
            );
        }
        None => print_line!("the model has no golden tiles: checked on noise images only"),
    }
    signed.iter().for_each(|signed| print_line!("signed by {}: {}", signed.key.display(), signed.comment));
    if let Some(path) = &args.certificate {
        Certificate::new(&model, &report, options.precision, signed.as_ref()).write(path)?;
        print_line!("certificate: {}", path.display());
    }
    Ok(())
}

//! The program `export`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod cli;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use export::about::About;
use export::keys::{self, Password};
use export::{Options, Summary, describe};
use infer::model::Model;
use infer::segmenter;
use infer::signature;
use support::{Result, console, print_line, print_text, signals};

use crate::cli::{CardFormat, Cli, Command, OnnxArgs, PasswordArgs};

/// Side in pixels of the windows that `infer` runs the network on, for configuration files of other programs.
const TILE_PX: usize = 1024;

fn main() -> ExitCode {
    infer::runtime::disable_telemetry();
    let cli = Cli::parse();
    cli.verbosity.start_logging();
    console::exit(signals::prepare_process().and_then(|()| run(cli.command)))
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Onnx(args) => onnx(args),
        Command::Verify { model, key, runtime } => {
            verify(&model, key.as_deref(), &segmenter::Options { runtime, ..segmenter::Options::default() })
        }
        Command::Card { model, format, json } => card(&model, if json { CardFormat::Json } else { format }),
        Command::Keygen { name, password } => {
            let [secret, public] = keys::generate(&name, &password.password())?;
            print_line!("{}\tkeep it secret\n{}\tgive it to the people who run your models", secret.display(), public.display());
            Ok(())
        }
        Command::Sign { model, key, password } => {
            print_line!("{}", keys::sign(&model, &key, &password.password())?.display());
            Ok(())
        }
    }
}

impl PasswordArgs {
    fn password(self) -> Password {
        match self {
            Self { plain: true, .. } => Password::None,
            Self { password_file: Some(path), .. } => Password::File(path),
            Self { plain: false, password_file: None } => Password::Ask,
        }
    }
}

fn onnx(args: OnnxArgs) -> Result<()> {
    let OnnxArgs {
        checkpoint,
        output,
        name,
        about,
        tiles,
        microns_per_pixel,
        target,
        precision,
        max_flipped,
        no_golden_tiles,
        force,
        runtime,
    } = args;
    let mut about = about.map_or_else(|| Ok(About::default()), |path| About::read(&path))?;
    about.name = name.or(about.name);
    about.microns_per_pixel = microns_per_pixel.or(about.microns_per_pixel);
    let options = Options { about, tiles, force, target, precision, max_flipped, golden: !no_golden_tiles, runtime };
    let summary = export::onnx(&checkpoint, &output, &options, &console::Console::new())?;
    print_line!("{}\t{} bytes\tsha256 {}", output.display(), summary.bytes, summary.sha256);
    print_summary(&summary);
    Ok(())
}

/// Prints size, halo and parity of an exported model.
fn print_summary(summary: &Summary) {
    let card = &summary.card;
    let halo = match &card.effective_reach {
        Some(reach) => {
            format!("halo {} px (probabilities change by at most {:.4}; exact: {} px)", reach.px, reach.max_change, card.reach_px)
        }
        None => format!("halo {} px (exact; not measured)", card.reach_px),
    };
    print_line!("{} weights in {} nodes, {halo}", summary.parameters, summary.nodes);
    if let (Some(parity), Some(speed)) = (card.form.parity, summary.speed) {
        print_line!(
            "{} {} relative to the plain graph in f32: probabilities differ by at most {:.5}, {:.6} on average, {:.4} % of {} pixels change side; {speed:.2} times as fast on this CPU",
            card.form.target,
            card.form.precision,
            parity.max_change,
            parity.mean_change,
            100.0 * parity.flipped_share,
            parity.pixels
        );
    }
    if let Some(parity) = card.form.training_parity {
        print_line!(
            "relative to the training program: probabilities differ by at most {:.2e}, {:.2e} on average",
            parity.max_change,
            parity.mean_change
        );
    }
    print_line!("{} golden tiles in the file", summary.golden_tiles);
}

fn verify(path: &Path, key: Option<&Path>, options: &segmenter::Options) -> Result<()> {
    let (model, signed) = signature::open(path, key)?;
    let report = infer::verify::verify(&model, options)?;
    let (low, high) = report.range;
    print_line!("{}: {} is correct on {}, probabilities {low:.4} to {high:.4}", path.display(), model.card.name, report.device);
    if let Some((outcome, _)) = report.golden {
        print_line!(
            "{} golden tiles: probabilities differ by at most {:.4}, {} of {} nuclei found",
            outcome.tiles,
            outcome.difference.max_change,
            outcome.nuclei_found,
            outcome.nuclei
        );
    }
    print_line!("sha256 {}", model.sha256);
    signed.iter().for_each(|signed| print_line!("signed: {}", signed.comment));
    Ok(())
}

fn card(path: &Path, format: CardFormat) -> Result<()> {
    let card = Model::open(path)?.card;
    match format {
        CardFormat::Markdown => print_text!("{}", describe::markdown(&card)),
        CardFormat::Json => print_line!("{}", card.to_json()),
        CardFormat::Wsinfer => print_line!("{}", serde_json::to_string_pretty(&describe::wsinfer(&card, TILE_PX))?),
        CardFormat::Monai => print_line!("{}", serde_json::to_string_pretty(&describe::monai(&card))?),
    }
    Ok(())
}

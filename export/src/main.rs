//! The program `export`.

mod cli;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use export::Options;
use infer::segmenter::{self, Model};
use models::card::ModelCard;
use models::{Result, console};

use crate::cli::{Cli, Command, OnnxArgs};

fn main() -> ExitCode {
    let cli = Cli::parse();
    console::start_logging(cli.verbose, cli.quiet);
    console::exit(run(cli.command))
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Onnx(args) => onnx(args),
        Command::Verify { model, runtime } => verify(&model, &segmenter::Options { runtime, ..segmenter::Options::default() }),
        Command::Card { model, json } => {
            let card = Model::open(&model)?.card;
            if json {
                println!("{}", card.to_json());
            } else {
                show(&card);
            }
            Ok(())
        }
    }
}

fn onnx(args: OnnxArgs) -> Result<()> {
    let OnnxArgs { checkpoint, output, name, tiles, microns_per_pixel, force, runtime } = args;
    let options = Options { name, microns_per_pixel, tiles, force, runtime };
    let summary = export::onnx(&checkpoint, &output, &options, &console::Console::new())?;
    let halo = match &summary.effective_reach {
        Some(reach) => format!("halo {} px (probabilities move by at most {:.4}; exact: {} px)", reach.px, reach.max_change, summary.reach),
        None => format!("halo {} px (exact; not measured)", summary.reach),
    };
    println!("{}\t{} bytes\tsha256 {}", output.display(), summary.bytes, summary.sha256);
    println!("{} weights in {} nodes, {halo}", summary.parameters, summary.nodes);
    Ok(())
}

fn verify(path: &Path, options: &segmenter::Options) -> Result<()> {
    let model = Model::open(path)?;
    let report = infer::verify::verify(&model, options)?;
    let (low, high) = report.range;
    println!("{}: {} is sound on {}, probabilities {low:.4} to {high:.4}", path.display(), model.card.name, report.device);
    println!("sha256 {}", model.sha256);
    Ok(())
}

fn show(card: &ModelCard) {
    let ModelCard { name, classes, microns_per_pixel, stride, reach_px, effective_reach, decoding, training, .. } = card;
    let scale = microns_per_pixel.map_or_else(|| "not given".to_owned(), |mpp| format!("{mpp} microns per pixel"));
    println!("name          {name}");
    println!("classes       {}", classes.iter().map(|class| class.name.as_str()).collect::<Vec<_>>().join(", "));
    println!("scale         {scale}");
    println!("tiles         multiples of {stride} px, halo {} px by default, {reach_px} px exact", card.default_halo_px());
    println!(
        "decoding      probability > {}, at least {} px, holes filled: {}",
        decoding.threshold, decoding.min_area_px, decoding.fill_holes
    );
    println!(
        "training      {} iterations on {} images, {:.2} % labelled",
        training.iterations,
        training.images,
        100.0 * training.labelled_share
    );
    println!("encoder       {}", training.encoder_weights.as_deref().unwrap_or("from scratch"));
    for metric in &training.metrics {
        println!("              {} {:.4} on {}", metric.name, metric.value, metric.measured_on);
    }
    println!("checkpoint    sha256 {}", training.checkpoint_sha256);
    println!("licence       {}", card.licence);
    println!("intended use  {}", card.intended_use);
    println!("written by    {}", card.written_by);
    if let Some(reach) = effective_reach {
        println!("halo px, largest change, flipped share ({} tiles, core {} px):", reach.tiles, reach.core_px);
        reach.curve.iter().for_each(|figures| println!("  {:4}  {:.6}  {:.2e}", figures.px, figures.max_change, figures.flipped_share));
    }
}

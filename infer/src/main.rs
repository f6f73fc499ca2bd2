//! The program `infer`.

mod cli;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use clap::Parser;
use infer::certificate::Certificate;
use infer::choose::{self, Chosen};
use infer::cohort::{self, Cohort};
use infer::output::summary::{Proof, Status};
use infer::runtime::{self, Device, Library};
use infer::segment_cli::{INCOMPLETE, Ready};
use infer::segmenter::{Model, Network, Options};
use infer::signature;
use infer::speed::Speed;
use infer::tile::Windows;
use models::card::Parity;
use support::console::Console;
use support::{Result, artifact, bail, console};

use crate::cli::{Cli, Command, RuntimeCommand, SegmentCommand, VerifyArgs};

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.verbosity.start_logging();
    infer::memory::give_back_large_blocks();
    match run(&cli.command) {
        Ok(code) => code,
        Err(error) => console::exit(Err(error)),
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Segment(args) => return segment(args),
        Command::Cohort { out } => return cohort(out),
        Command::Verify(args) => verify(args)?,
        Command::Runtime(RuntimeCommand::Install { from, openvino, cuda, cpu: _, into }) => {
            let (from, into) = (from.as_deref(), into.as_deref());
            let mut all = runtime::install(from, into)?;
            for library in [openvino.then_some(Library::OpenVino), cuda.then_some(Library::Cuda)].into_iter().flatten() {
                all.push(runtime::install_library(library, from, into)?);
            }
            for installed in all {
                let state = if installed.written { "installed" } else { "already there" };
                println!("{}\t{state}\t{}", installed.library.name(), installed.path.display());
            }
        }
        Command::Runtime(RuntimeCommand::List) => list()?,
        Command::Doctor { speed } => doctor(speed.as_deref())?,
        Command::SlideServer { slide, openslide } => serve(slide, openslide.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn cohort(out: &Path) -> Result<ExitCode> {
    let cohort = Cohort::read(out)?;
    artifact::write(&out.join(cohort::FILE), &cohort.to_csv()?)?;
    print!("{}", cohort.to_markdown());
    let is_whole = cohort.unfinished.is_empty() && cohort.done.iter().all(|(_, summary)| summary.status == Status::Complete);
    Ok(ExitCode::from(if is_whole { 0 } else { INCOMPLETE }))
}

fn segment(args: &SegmentCommand) -> Result<ExitCode> {
    let model = Model::open(&args.segment.model)?;
    let signed = signature::check(&model, &args.segment.model, args.key.as_deref())?.map(|signed| signed.comment);
    if let Some(comment) = &signed {
        tracing::info!("signed: {comment}");
    }
    let Chosen { segmenter, mut options, golden } = choose::open(&model, &args.device.options(), args.device.precision)?;
    let golden = golden.map(|(outcome, _)| outcome);
    if let Some(outcome) = &golden {
        tracing::info!("{} golden tiles move by at most {:.4}", outcome.tiles, outcome.difference.max_change);
    }
    let device = format!("{} in {}, {}", options.device, options.precision.name(), segmenter.kernels());
    let mut networks: Vec<Box<dyn Network>> = Vec::new();
    for _ in 0..share_cores(args, &model, &mut options) {
        networks.push(Box::new(segmenter.beside(&model, &options)?));
    }
    drop(segmenter); // the others, with their shares of the cores, take its place
    let stop = listen()?;
    let ready = Ready {
        model: &model,
        networks: &mut networks,
        device,
        proof: Proof { golden, signed },
        slide_server: std::env::current_exe().ok(),
        stop: stop.clone(),
    };
    let code = args.segment.run(ready, &Console::new());
    match (code, stop.load(Ordering::Relaxed)) {
        (Err(error), signal) if signal != 0 => {
            tracing::warn!("{error:?}");
            Ok(ExitCode::from(128 + signal as u8))
        }
        (code, _) => code,
    }
}

/// Sessions, and the cores shared among them: two of half the threads are faster than one of all, and need twice the memory
/// (docs/lab/slide-speed.md); not so with long windows, as own kernels take them. On a GPU each has a stream: one copies while the other computes;
/// with `TensorRT` each would build an engine first.
fn share_cores(args: &SegmentCommand, model: &Model, options: &mut Options) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let on_cpu = matches!(options.device, Device::Native | Device::Cpu | Device::OpenVino);
    let one_size = args.segment.tile_px(&model.card, Windows::OneSize);
    let pays = on_cpu && options.device != Device::Native && cores > 1 && options.threads == 0 && one_size <= 1024;
    let sessions = args.sessions.unwrap_or(if pays || options.device == Device::Cuda { 2 } else { 1 });
    if options.threads == 0 && on_cpu {
        options.threads = (cores / usize::from(sessions)).max(1);
    }
    sessions
}

/// Reads a slide for the process that has started this one, and ends with it; a terminal's interrupt is for that process.
fn serve(slide: &Path, openslide: Option<&Path>) -> Result<()> {
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default())?;
    slides::openslide::serve(slide, openslide, &mut std::io::stdin().lock(), &mut std::io::stdout().lock())
}

/// The number of a signal that asks to stop, once it has come; a second one ends the program at once.
fn listen() -> Result<Arc<AtomicUsize>> {
    let (signal, came) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(number, 128 + number, came.clone())?;
        signal_hook::flag::register(number, came.clone())?;
        signal_hook::flag::register_usize(number, signal.clone(), number as usize)?;
    }
    Ok(signal)
}

fn verify(args: &VerifyArgs) -> Result<()> {
    let model = Model::open(&args.model)?;
    let signed = signature::check(&model, &args.model, args.key.as_deref())?;
    let Chosen { mut segmenter, options, golden } = choose::open(&model, &args.device.options(), args.device.precision)?;
    let report = infer::verify::on_noise(&model, &mut segmenter, golden)?;
    let (low, high) = report.range;
    println!(
        "{}: sound on {} (probabilities {low:.4} to {high:.4}, {:.0?} for 256 x 256)",
        args.model.display(),
        report.device,
        report.time
    );
    match &report.golden {
        Some((outcome, _)) => {
            let Parity { max_change, flipped_share, .. } = outcome.difference;
            println!(
                "{} golden tiles: probabilities move by at most {max_change:.4}, {:.4} % of pixels change side, {} of {} nuclei found",
                outcome.tiles,
                100.0 * flipped_share,
                outcome.nuclei_found,
                outcome.nuclei
            );
        }
        None => println!("the model carries no golden tiles: only noise was tried"),
    }
    signed.iter().for_each(|signed| println!("signed by {}: {}", signed.key.display(), signed.comment));
    if let Some(path) = &args.certificate {
        Certificate::new(&model, &report, options.precision, signed.as_ref()).write(path)?;
        println!("certificate: {}", path.display());
    }
    Ok(())
}

fn list() -> Result<()> {
    let mut missing = None;
    for library in Library::ALL {
        match runtime::locate(library, None) {
            Ok(found) => println!("{}\t{}\t{}", library.name(), found.path.display(), found.place),
            Err(error) => {
                println!("{}\tnot found", library.name());
                if library == Library::OnnxRuntime {
                    missing = Some(error);
                }
            }
        }
    }
    missing.map_or(Ok(()), Err)
}

fn doctor(model: Option<&Path>) -> Result<()> {
    let mut faults = 0;
    for finding in runtime::doctor() {
        match &finding.state {
            Ok(state) => println!("ok       {}: {state}", finding.what),
            Err(error) => {
                let mark = if finding.optional { "optional" } else { "missing " };
                println!("{mark} {}: {error}", finding.what);
                error.hint_text().inspect(|hint| println!("         {hint}"));
                faults += usize::from(!finding.optional);
            }
        }
    }
    if faults > 0 {
        bail!("{faults} of the things that are needed are missing");
    }
    model.map_or(Ok(()), speed)
}

fn speed(model: &Path) -> Result<()> {
    let speeds = infer::speed::measure(model, infer::speed::SIDE, infer::speed::LONG_ENOUGH)?;
    println!("\nmegapixels a second on a slide made here, {} and each stage by itself:", model.display());
    let lines = speeds.stages.iter().map(|speed| ("", speed)).chain(speeds.devices.iter().map(|speed| ("network, ", speed)));
    for (kind, Speed { what, rate }) in lines {
        match rate {
            Ok(rate) => println!("{rate:9.2} {kind}{what}"),
            Err(error) => {
                println!("        - {kind}{what}: {error}");
                error.hint_text().inspect(|hint| println!("          {hint}"));
            }
        }
    }
    if let (Some(limit), Some(device)) = (speeds.limit(), speeds.best_device()) {
        println!("limit: {}; the fastest device is {1}: infer segment MODEL SLIDE -o OUT --device {1}", limit.what, device.what);
    }
    Ok(())
}

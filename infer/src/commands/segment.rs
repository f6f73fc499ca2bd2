//! `infer segment`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use infer::choose::{self, Chosen};
use infer::model::Model;
use infer::network::Network;
use infer::output::summary::Proof;
use infer::output::{ExtraOutput, Outlines};
use infer::runtime::Device;
use infer::segment::{self, Halo, Options, Regions, Shard, check_names, segment_all, segment_shard};
use infer::segmenter;
use infer::signature;
use infer::tile::Windows;
use support::console::Console;
use support::{Result, print_line, signals};

use super::INCOMPLETE;
use super::arguments::{DeviceArgs, count};

/// Time between a signal and the end of the process.
const GRACE: Duration = Duration::from_secs(8);

#[derive(Args)]
pub struct SegmentArgs {
    /// Model file (.onnx)
    model: PathBuf,
    /// Slides: SVS and tiled TIFF, PNG, JPEG; NDPI, MRXS, SCN, DICOM and others by OpenSlide
    #[arg(required = true, value_name = "SLIDE")]
    slides: Vec<PathBuf>,
    /// Write results to this folder, in one folder per slide
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Take this scale for all slides, in microns per pixel of level 0 [default: from the slide's properties]
    #[arg(long, value_name = "X")]
    mpp: Option<f64>,
    /// Read this channel of slides of several channels: a number from 1, or a name [default: DAPI, Hoechst or another nuclear stain, else 1]
    #[arg(long, value_name = "N|NAME")]
    channel: Option<String>,
    /// Read windows of this side, or this height on the native device [default: 1024 to 3072 px, by halo and device]
    #[arg(long, value_name = "PX", value_parser = count(1..=1 << 16))]
    tile: Option<usize>,
    /// Read this many pixels around each window's core, or `exact` for the whole receptive field [default: as measured for the model]
    #[arg(long, value_name = "PX|exact")]
    halo: Option<Halo>,
    /// Run the network on this number of windows at once
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = count(1..=256))]
    batch: usize,
    /// Read slides on this number of threads; 0: by the number of cores
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = count(0..=256))]
    readers: usize,
    /// Load OpenSlide from this library [default: NUCLEI_OPENSLIDE, lib/ beside the program, the cache]
    #[arg(long, value_name = "LIB")]
    openslide: Option<PathBuf>,
    /// Write this file too; may be repeated
    #[arg(long, value_enum, value_name = "FILE")]
    also: Vec<ExtraFile>,
    /// Write one GeoJSON file per square of this side in level-0 pixels, at least 256 [default: one file per slide]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u32).range(256..))]
    geojson_shards: Option<u32>,
    /// Simplify GeoJSON outlines by at most this distance, 0 to 16 px at the model's scale; outlines never cross
    #[arg(long, value_name = "PX", default_value_t = 0.0, value_parser = parse_simplify)]
    simplify: f64,
    /// Count positions in all files from this corner
    #[arg(long, value_enum, default_value_t = Origin::Full)]
    origin: Origin,
    /// Analyse only these regions: a mask image over the whole slide (nonzero: analyse), or GeoJSON polygons in level-0 pixels
    #[arg(long, value_name = "FILE", conflicts_with = "no_tissue")]
    tissue: Option<PathBuf>,
    /// Analyse the whole slide [default: bare glass is skipped on slides with a light background]
    #[arg(long)]
    no_tissue: bool,
    /// Resume a stopped run of the same command, and keep the results of finished slides
    #[arg(long)]
    resume: bool,
    /// Compute part K of N only, counted from 1: whole slides if there are at least N, else a part of each slide
    ///
    /// If parts of slides were computed, a last run with --resume and without --shard writes the results.
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Print the summaries as a JSON list on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
    /// Run this number of sessions side by side [default: 2 on cuda, and on ONNX Runtime's CPU devices with windows up to 1024 px; else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    sessions: Option<u16>,
    /// Require a signature by this public key [default: trusted.pub beside the program, if it exists]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// [`segment::Origin`] on the command line.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Corner of level 0
    Full,
    /// Corner of the scanned part, as QuPath shows the slide
    Bounds,
}

/// [`ExtraOutput`] on the command line.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum ExtraFile {
    /// nuclei.parquet: table for pandas, Arrow and DuckDB
    Parquet,
    /// nuclei.db: annotation store for TIAToolbox
    Tiatoolbox,
    /// labels.ome.tif: number of the nucleus at every pixel, 32-bit OME-TIFF pyramid
    Labels,
}

impl ExtraFile {
    fn extra(self) -> ExtraOutput {
        match self {
            Self::Parquet => ExtraOutput::Parquet,
            Self::Tiatoolbox => ExtraOutput::AnnotationStore,
            Self::Labels => ExtraOutput::Labels,
        }
    }
}

/// Opens the model on its device and segments the slides; a signal ends the run with its exit code.
pub fn run(args: &SegmentArgs) -> Result<ExitCode> {
    let signals = signals::listen()?;
    signals.end_within(GRACE)?;
    let stop = signals.number;
    let (model, signed) = signature::open(&args.model, args.key.as_deref())?;
    let signed = signed.map(|signed| signed.comment);
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
    drop(segmenter); // its threads are as many as there are cores; the networks share the cores
    let options = args.options(device, Proof { golden, signed }, stop.clone());
    let code = segment_slides(args, &model, &mut networks, &options);
    match (code, stop.load(Ordering::Relaxed)) {
        (Err(error), signal) if signal != 0 => {
            tracing::warn!("{error:?}");
            Ok(ExitCode::from(128 + signal as u8))
        }
        (code, _) => code,
    }
}

/// Returns the number of sessions, and divides the cores among them.
///
/// On a CPU, two sessions with half of the threads are faster than one with all and need twice the memory (docs/lab/slide-speed.md),
/// except with the long windows of the native device. On CUDA each session has a stream, so that one copies while the other computes.
/// With `TensorRT` each session would first build an engine.
fn share_cores(args: &SegmentArgs, model: &Model, options: &mut segmenter::Options) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let on_cpu = matches!(options.device, Device::Native | Device::Cpu | Device::OpenVino);
    let tile_px = args.tile.unwrap_or_else(|| args.halo.unwrap_or_default().tile_px(&model.card, Windows::OneSize));
    let pays = on_cpu && options.device != Device::Native && cores > 1 && options.threads == 0 && tile_px <= 1024;
    let sessions = args.sessions.unwrap_or(if pays || options.device == Device::Cuda { 2 } else { 1 });
    if options.threads == 0 && on_cpu {
        options.threads = (cores / usize::from(sessions)).max(1);
    }
    sessions
}

impl SegmentArgs {
    fn options(&self, device: String, proof: Proof, stop: Arc<AtomicUsize>) -> Options {
        Options {
            out: self.out.clone(),
            mpp: self.mpp,
            channel: self.channel.clone(),
            halo: self.halo.unwrap_or_default(),
            tile: self.tile,
            batch: self.batch,
            readers: self.readers,
            openslide: self.openslide.clone(),
            slide_server: std::env::current_exe().ok(),
            origin: match self.origin {
                Origin::Full => segment::Origin::Full,
                Origin::Bounds => segment::Origin::Bounds,
            },
            extra: self.also.iter().map(|file| file.extra()).collect(),
            outlines: Outlines { shard_px: self.geojson_shards, simplify_px: self.simplify },
            regions: match &self.tissue {
                Some(path) => Regions::Given(path.clone()),
                None if self.no_tissue => Regions::All,
                None => Regions::Found,
            },
            resume: self.resume,
            stop,
            device,
            proof,
        }
    }
}

fn segment_slides(args: &SegmentArgs, model: &Model, networks: &mut [Box<dyn Network>], options: &Options) -> Result<ExitCode> {
    check_names(&args.slides, &args.out)?;
    if let Some(shard) = args.shard.filter(|shard| args.slides.len() < shard.count) {
        return segment_shards(&args.slides, shard, model, networks, options);
    }
    let shard = args.shard.unwrap_or(Shard { index: 0, count: 1 });
    let slides: Vec<&Path> = shard.slides(&args.slides).map(PathBuf::as_path).collect();
    let batch = segment_all(&slides, model, networks, options, &Console::new(), |summary| {
        if !args.json {
            print_line!("{}", summary.line());
        }
    })?;
    if args.json {
        print_line!("{}", serde_json::to_string_pretty(&batch.summaries)?);
    }
    batch.check()?;
    Ok(if batch.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

/// Computes one part of the bands of every slide.
fn segment_shards(
    slides: &[PathBuf],
    shard: Shard,
    model: &Model,
    networks: &mut [Box<dyn Network>],
    options: &Options,
) -> Result<ExitCode> {
    for slide in slides {
        let report = segment_shard(slide, model, networks, options, shard, &Console::new())?;
        let next = if report.stored == report.bands { "; all bands are stored: run again with --resume and without --shard" } else { "" };
        print_line!("{}: {} bands computed, {} of {} stored{next}", slide.display(), report.computed, report.stored, report.bands);
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_simplify(text: &str) -> Result<f64, String> {
    let pixels = text.parse().ok().filter(|pixels| (0.0..=16.0).contains(pixels));
    pixels.ok_or_else(|| format!("expected a number of pixels from 0 to 16, found {text:?}"))
}

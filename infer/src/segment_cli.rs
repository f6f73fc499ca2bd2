//! The command line of `infer segment`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Args, ValueEnum};
use models::card::ModelCard;
use support::console::Progress;
use support::{Result, bail};

use crate::output::summary::{Proof, Status};
use crate::output::{Extra, Outlines};
use crate::segment::{self, Halo, Options, Regions, Shard, folder, segment, segment_shard};
use crate::segmenter::{Model, Network};
use crate::tile::Windows;

/// Exit code where a slide is incomplete: more than 5 % of it could not be read.
pub const INCOMPLETE: u8 = 3;

/// Find every nucleus of slides.
///
/// Writes OUT/SLIDE/ with nuclei.geojson.gz (QuPath), nuclei.csv, mask.tif, probability.tif, labels.png, overlay.png, quality.tif and,
/// last, summary.json. Exit code 0: done; 1: an error; 3: done, but more than 5 % of a slide could not be read; 130 or 143: stopped by a
/// signal, to be gone on from with --resume.
#[derive(Args, Clone, Debug)]
pub struct SegmentArgs {
    /// The .onnx file.
    pub model: PathBuf,
    /// Slides: SVS and tiled TIFF, PNG, JPEG; NDPI, MRXS, SCN, DICOM and others by OpenSlide.
    #[arg(required = true, value_name = "SLIDE")]
    pub slides: Vec<PathBuf>,
    /// The folder for results; each slide gets a folder in it.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Microns per pixel of the slides, in place of what they say themselves.
    #[arg(long, value_name = "X")]
    pub mpp: Option<f64>,
    /// Side of the windows that the network sees, for own kernels their height [default: 1024, or 2048 where the halo is larger than 64;
    /// for own kernels 2048, or 3072 where it is larger than 128].
    #[arg(long, value_name = "PX")]
    pub tile: Option<usize>,
    /// Pixels around each window's core, or `exact` for all that a value can depend on [default: as measured for the model].
    #[arg(long, value_name = "PX|exact")]
    pub halo: Option<Halo>,
    /// Windows that the network gets at once.
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Threads that read slides; 0: by the machine.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub readers: usize,
    /// The OpenSlide library [default: the variable `NUCLEI_OPENSLIDE`, lib/ beside the program, the cache].
    #[arg(long, value_name = "LIB")]
    pub openslide: Option<PathBuf>,
    /// Write these files too; may be repeated.
    #[arg(long, value_enum, value_name = "FILE")]
    pub also: Vec<Also>,
    /// One GeoJSON file for every square of so many level-0 pixels, in place of one for the slide: `nuclei_x0_y4096.geojson.gz` ...
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u32).range(256..))]
    pub geojson_shards: Option<u32>,
    /// Leave out corners of GeoJSON rings that lie at most so many of the network's pixels from the lines between others; rings never cross.
    #[arg(long, value_name = "PX", default_value_t = 0.0, value_parser = parse_simplify)]
    pub simplify: f64,
    /// What positions in the files count from: the corner of the slide, or of its scanned part as QuPath shows it.
    #[arg(long, value_enum, default_value_t = Origin::Full)]
    pub origin: Origin,
    /// Look only where this says so: a mask image over the whole slide (not 0: look), or GeoJSON polygons in level-0 pixels.
    #[arg(long, value_name = "FILE", conflicts_with = "no_tissue")]
    pub tissue: Option<PathBuf>,
    /// Look everywhere; without this, bare glass is skipped on slides with a light background.
    #[arg(long)]
    pub no_tissue: bool,
    /// Go on where a stopped run of the same command ended; leave slides that are done as they are.
    #[arg(long)]
    pub resume: bool,
    /// Do part K of N, counted from 1: whole slides where there are at least N, else a part of each slide, which a last run with
    /// --resume and without --shard makes into results.
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,
    /// Print the summaries as a JSON list on stdout.
    #[arg(long)]
    pub json: bool,
}

/// [`segment::Origin`] on the command line.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The corner of level 0.
    Full,
    /// The corner of the scanned part.
    Bounds,
}

/// [`Extra`] on the command line.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Also {
    /// nuclei.parquet: the table for pandas, Arrow, DuckDB.
    Parquet,
    /// nuclei.db: an annotation store for TIAToolbox.
    Tiatoolbox,
    /// labels.ome.tif: the number of the nucleus in every pixel, 32-bit, an OME-TIFF pyramid.
    Labels,
}

/// A model that is ready: what [`segment()`] needs beside the slide.
pub struct Ready<'a> {
    /// The model.
    pub model: &'a Model,
    /// Sessions that run side by side.
    pub networks: &'a mut [Box<dyn Network>],
    /// Device, runtime and versions, for summaries.
    pub device: String,
    /// What is known of the model on it.
    pub proof: Proof,
    /// See [`Options::slide_server`].
    pub slide_server: Option<PathBuf>,
    /// A signal's number ends the run soon.
    pub stop: Arc<AtomicUsize>,
}

impl Also {
    fn extra(self) -> Extra {
        match self {
            Self::Parquet => Extra::Parquet,
            Self::Tiatoolbox => Extra::AnnotationStore,
            Self::Labels => Extra::Labels,
        }
    }
}

impl SegmentArgs {
    /// The arguments as the library takes them.
    pub fn options(&self, ready: &Ready<'_>) -> Options {
        Options {
            out: self.out.clone(),
            mpp: self.mpp,
            halo: self.halo.unwrap_or_default(),
            tile: self.tile,
            batch: self.batch,
            readers: self.readers,
            openslide: self.openslide.clone(),
            origin: match self.origin {
                Origin::Full => segment::Origin::Full,
                Origin::Bounds => segment::Origin::Bounds,
            },
            extra: self.also.iter().map(|also| also.extra()).collect(),
            outlines: Outlines { shard_px: self.geojson_shards, simplify_px: self.simplify },
            device: ready.device.clone(),
            proof: ready.proof.clone(),
            slide_server: ready.slide_server.clone(),
            regions: match &self.tissue {
                Some(path) => Regions::Given(path.clone()),
                None if self.no_tissue => Regions::All,
                None => Regions::Found,
            },
            resume: self.resume,
            stop: ready.stop.clone(),
        }
    }

    /// Side of the windows that a network will see which asks for these.
    pub fn tile_px(&self, card: &ModelCard, windows: Windows) -> usize {
        self.tile.unwrap_or_else(|| self.halo.unwrap_or_default().tile_px(card, windows))
    }

    /// Segments all slides, one after another; prints summaries on stdout.
    ///
    /// A slide that fails is told and the others are done all the same; the result is then an error.
    pub fn run(&self, mut ready: Ready<'_>, progress: &dyn Progress) -> Result<ExitCode> {
        self.check_names()?;
        let options = self.options(&ready);
        if let Some(shard) = self.shard.filter(|shard| self.slides.len() < shard.count) {
            return self.run_shard(&mut ready, shard, &options, progress);
        }
        let shard = self.shard.unwrap_or(Shard { index: 0, count: 1 });
        let own: Vec<&PathBuf> = self.slides.iter().skip(shard.index).step_by(shard.count).collect();
        let mut summaries = Vec::new();
        let mut failed = None;
        for &slide in &own {
            match segment(slide, ready.model, ready.networks, &options, progress) {
                Ok(summary) => {
                    if !self.json {
                        println!("{}", summary.line());
                    }
                    summaries.push(summary);
                }
                Err(error) if own.len() == 1 || ready.stop.load(Ordering::Relaxed) != 0 => return Err(error),
                Err(error) => {
                    tracing::error!("{error:?}");
                    failed.get_or_insert(slide);
                }
            }
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&summaries)?);
        }
        if let Some(first) = failed {
            let count = own.len() - summaries.len();
            bail!("{count} of {} slides failed, the first is {}", own.len(), first.display());
        }
        let complete = summaries.iter().all(|summary| summary.status == Status::Complete);
        Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
    }

    /// A part of the bands of every slide.
    fn run_shard(&self, ready: &mut Ready<'_>, shard: Shard, options: &Options, progress: &dyn Progress) -> Result<ExitCode> {
        for slide in &self.slides {
            let report = segment_shard(slide, ready.model, ready.networks, options, shard, progress)?;
            let ends = if report.stored == report.bands { "; all are there: run again with --resume and without --shard" } else { "" };
            println!("{}: {} bands computed, {} of {} stored{ends}", slide.display(), report.computed, report.stored, report.bands);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Two slides of one name would write to one folder.
    fn check_names(&self) -> Result<()> {
        let mut slide_by_folder = HashMap::new();
        for slide in &self.slides {
            let folder = folder(slide, &self.out)?;
            if let Some(other) = slide_by_folder.insert(folder.clone(), slide) {
                bail!("{} and {} would both be written to {}", other.display(), slide.display(), folder.display(); hint: "segment them with different --out folders");
            }
        }
        Ok(())
    }
}

fn parse_simplify(text: &str) -> Result<f64, String> {
    let pixels = text.parse().ok().filter(|pixels| (0.0..=16.0).contains(pixels));
    pixels.ok_or_else(|| format!("expected a number of pixels from 0 to 16, found {text:?}"))
}

//! The command line of `infer segment`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use models::card::ModelCard;
use models::console::Progress;
use models::{Result, bail};

use crate::output::Summary;
use crate::output::summary::Status;
use crate::segment::{self, Halo, Options, folder, segment};
use crate::segmenter::Network;

/// Exit code where a slide is incomplete: more than 5 % of it could not be read.
pub const INCOMPLETE: u8 = 3;

/// Find every nucleus of slides.
///
/// Writes OUT/SLIDE/ with nuclei.geojson.gz (QuPath), nuclei.csv, mask.tif, probability.tif, labels.png, overlay.png and, last,
/// summary.json. Exit code 0: done; 1: an error; 3: done, but more than 5 % of a slide could not be read.
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
    /// Side of the windows that the network sees [default: 1024, or 2048 where the halo is larger than 64].
    #[arg(long, value_name = "PX")]
    pub tile: Option<usize>,
    /// Pixels around each window's core, or `exact` for all that a value can depend on [default: as measured for the model].
    #[arg(long, value_name = "PX|exact", value_parser = parse_halo)]
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
    /// What positions in the files count from: the corner of the slide, or of its scanned part as QuPath shows it.
    #[arg(long, value_enum, default_value_t = Origin::Full)]
    pub origin: Origin,
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

/// A model that is ready: what [`segment()`] needs beside the slide.
pub struct Ready<'a> {
    /// Its card.
    pub card: &'a ModelCard,
    /// SHA-256 of its file.
    pub sha256: &'a str,
    /// Sessions that run side by side.
    pub networks: &'a mut [Box<dyn Network>],
    /// Device, runtime and versions, for summaries.
    pub device: String,
}

impl SegmentArgs {
    /// The arguments as the library takes them; `device` goes into summaries.
    pub fn options(&self, device: String) -> Options {
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
            device,
        }
    }

    /// Segments all slides, one after another; prints summaries on stdout.
    ///
    /// A slide that fails is told and the others are done all the same; the result is then an error.
    pub fn run(&self, ready: Ready<'_>, progress: &dyn Progress) -> Result<ExitCode> {
        self.check_names()?;
        let options = self.options(ready.device);
        let mut summaries = Vec::new();
        let mut failed = None;
        for slide in &self.slides {
            match segment(slide, ready.card, ready.sha256, ready.networks, &options, progress) {
                Ok(summary) => {
                    if !self.json {
                        println!("{}", line(&summary));
                    }
                    summaries.push(summary);
                }
                Err(error) if self.slides.len() == 1 => return Err(error),
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
            let count = self.slides.len() - summaries.len();
            bail!("{count} of {} slides failed, the first is {}", self.slides.len(), first.display());
        }
        let complete = summaries.iter().all(|summary| summary.status == Status::Complete);
        Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
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

/// One slide in a line for a person.
fn line(summary: &Summary) -> String {
    let density = summary.nuclei.per_mm2.map_or_else(String::new, |density| format!(", {density:.0} per mm²"));
    let lost = &summary.areas;
    let lost = if lost.lost_tiles.is_empty() {
        String::new()
    } else {
        format!("; {} tiles could not be read, {:.1} % of the area", lost.lost_tiles.len(), lost.lost_share * 100.0)
    };
    let scale = summary.scale.read_at.effective_mpp.map_or_else(|| "unknown scale".to_owned(), |[x, _]| format!("{x:.4} µm/px"));
    format!(
        "{}: {} nuclei{density} at {scale}, {:.1} s, {:.2} Mpx/s{lost}",
        summary.slide.file, summary.nuclei.count, summary.timings.wall_seconds, summary.timings.megapixels_per_second
    )
}

fn parse_halo(text: &str) -> Result<Halo, String> {
    if text == "exact" {
        return Ok(Halo::Exact);
    }
    text.parse().map(Halo::Px).map_err(|_| format!("expected a number of pixels or `exact`, found {text:?}"))
}

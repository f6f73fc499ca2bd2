//! One slide through one model: from a file to `OUT/SLIDE/`.
//!
//! | module | what |
//! |---|---|
//! | `plan` | everything that is decided before the first pixel is read, and the summary of it |
//! | `halo` | how far windows read beyond their cores |
//! | `look` | the slide made small, its tissue |
//! | `compute` | the threads between the slide and its files |
//! | `strips` | bands with their pixels, for colours and quality |
//! | `visit` | nuclei handed to a callback, without files |
//! | `store` | bands that are done, on disk: resuming and shards |

mod compute;
mod halo;
mod look;
mod plan;
mod store;
mod strips;
mod visit;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use support::console::Progress;
use support::{Result, artifact, bail};

use crate::output::summary::Proof;
#[cfg(doc)]
use crate::output::summary::Status;
use crate::output::writers::Source;
use crate::output::{Extra, Files, Outlines, SUMMARY, Summary};
use crate::segmenter::{Model, Network};
use crate::timing::StageTimings;
use crate::tissue::region::Region;
pub use halo::Halo;
use plan::Plan;
use slides::{Access, Slide};
use store::Store;
pub use visit::{Visit, visit};

/// What positions in the files count from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The corner of level 0.
    #[default]
    Full,
    /// The corner of the scanned part, as QuPath shows slides that tell it.
    Bounds,
}

/// Where a slide is looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Regions {
    /// Everywhere.
    #[default]
    All,
    /// Where there is more than bare glass.
    Found,
    /// Where a mask image over the whole slide, or a GeoJSON file in level-0 pixels, says so.
    Given(PathBuf),
    /// The grid squares that a region in level-0 pixels touches.
    Inside(Region),
}

/// A part of a slide's bands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: usize,
    /// Number of shards.
    pub count: usize,
}

impl FromStr for Shard {
    type Err = String;

    /// `K/N`, counted from 1.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse::<usize>().ok()?, n.parse::<usize>().ok()?)));
        match parts {
            Some((k, n)) if (1..=n).contains(&k) => Ok(Self { index: k - 1, count: n }),
            _ => Err(format!("expected K/N with K from 1 to N, for example 2/8, found {text:?}")),
        }
    }
}

/// What a shard leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardReport {
    /// Bands that it computed now.
    pub computed: usize,
    /// Bands of all shards that are on disk.
    pub stored: usize,
    /// Bands of the slide.
    pub bands: usize,
}

/// How a slide is segmented.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder in which a folder for the slide is made.
    pub out: PathBuf,
    /// µm per pixel of level 0, in place of what the slide says.
    pub mpp: Option<f64>,
    /// Pixels around each core.
    pub halo: Halo,
    /// Side of windows at the model's scale; `None`: by the halo.
    pub tile: Option<usize>,
    /// Windows that a network gets at once; 0: one.
    pub batch: usize,
    /// Threads that read windows; 0: by the machine.
    pub readers: usize,
    /// The OpenSlide library, if not where it is usually found.
    pub openslide: Option<PathBuf>,
    /// A program that knows the command `slide-server`, as `infer` does: OpenSlide then runs in processes of it, so that a crash of
    /// its C code costs a tile and not the run; `None`: in this process.
    pub slide_server: Option<PathBuf>,
    /// What positions count from.
    pub origin: Origin,
    /// Files that are written on demand.
    pub extra: Vec<Extra>,
    /// How outlines are written.
    pub outlines: Outlines,
    /// Where it is looked at.
    pub regions: Regions,
    /// Go on from the bands that a run of the same key has stored; a slide that is done stays as it is.
    pub resume: bool,
    /// A signal's number ends the run soon, with an error; bands that are done are kept for `resume`.
    pub stop: Arc<AtomicUsize>,
    /// What runs the network, for the summary.
    pub device: String,
    /// What is known of the model on it, for the summary.
    pub proof: Proof,
}

/// Opens a slide, finds its nuclei and writes the files of [`crate::output`] to `options.out/<slide's name>/`.
///
/// Networks run side by side; results do not depend on their number. A summary with [`Status::Incomplete`] is a result too: more than 5 %
/// of the slide could not be read.
///
/// # Errors
/// The first error of the slide, of a network or of a file; no file of this run then has its final name.
pub fn segment(
    slide: &Path,
    model: &Model,
    networks: &mut [Box<dyn Network>],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Summary> {
    segment_open(open(slide, options)?.as_ref(), model, networks, options, progress)
}

/// Does the work of [`segment()`] for a slide that is open.
pub fn segment_open(
    slide: &dyn Slide,
    model: &Model,
    networks: &mut [Box<dyn Network>],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Summary> {
    let began = Instant::now();
    with_plan(slide, model, networks, options, |plan, source, store, networks| {
        if options.resume
            && let Some(summary) = finished(plan)
        {
            store.clear()?;
            return Ok(summary);
        }
        if !options.resume {
            store.clear()?;
        }
        let mut files = Files::new(&plan.folder)?;
        let computed = plan.compute(&model.card, networks, source, &mut files, store, progress)?;
        let summary = plan.summary(&model.card, source, computed, &files, networks.len(), began);
        files.commit(&summary)?;
        store.clear()?;
        Ok(summary)
    })
}

/// Computes and stores the bands of one shard; [`segment()`] with `resume` makes the results once all shards are there.
///
/// Bands that are stored are not computed again.
pub fn segment_shard(
    slide: &Path,
    model: &Model,
    networks: &mut [Box<dyn Network>],
    options: &Options,
    shard: Shard,
    progress: &dyn Progress,
) -> Result<ShardReport> {
    let slide = open(slide, options)?;
    with_plan(slide.as_ref(), model, networks, options, |plan, _, store, networks| {
        if finished(plan).is_some() {
            let bands = plan.grid.bands().len();
            return Ok(ShardReport { computed: 0, stored: bands, bands });
        }
        plan.compute_shard(networks, store, shard, progress)
    })
}

fn open(slide: &Path, options: &Options) -> Result<Box<dyn Slide>> {
    slides::open_with(slide, Access { library: options.openslide.as_deref(), program: options.slide_server.as_deref() })
}

fn with_plan<T>(
    slide: &dyn Slide,
    model: &Model,
    networks: &mut [Box<dyn Network>],
    options: &Options,
    work: impl FnOnce(&Plan<'_>, &Source<'_>, &Store, &mut [Box<dyn Network>]) -> Result<T>,
) -> Result<T> {
    let Some(network) = networks.first() else { bail!("segmenting {}: no network was given", slide.facts().path.display()) };
    let timings = StageTimings::default();
    let slide_sha256 = timings.hash.time(|| artifact::sha256_of_file(&slide.facts().path))?;
    let source = Source { slide_sha256: &slide_sha256, model_sha256: &model.sha256, class: model.class()? };
    let plan = Plan::new(slide, model, &source, network.windows(), options, &timings)?;
    let store = Store::new(&plan.folder, plan.key.clone());
    work(&plan, &source, &store, networks)
}

/// The summary of a run of the same key whose files are all there.
fn finished(plan: &Plan<'_>) -> Option<Summary> {
    let text = std::fs::read_to_string(plan.folder.join(SUMMARY)).ok()?;
    let summary: Summary = serde_json::from_str(&text).ok()?;
    let is_whole = summary.outputs.iter().all(|name| plan.folder.join(name).is_file());
    let has_extra = plan.extra.iter().all(|extra| summary.outputs.iter().any(|name| name == extra.file()));
    (summary.key == plan.key && is_whole && has_extra).then_some(summary)
}

/// The folder of a slide's files: named as the slide, without its extension.
pub fn folder(slide: &Path, out: &Path) -> Result<PathBuf> {
    let Some(stem) = slide.file_stem() else { bail!("{} names no file", slide.display()) };
    Ok(out.join(stem))
}

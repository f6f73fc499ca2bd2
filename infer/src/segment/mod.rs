//! Segmentation of one slide with one model: from a slide file to the folder `OUT/SLIDE/`.
//!
//! | module | contents |
//! |---|---|
//! | `plan` | all decisions before the first window is read |
//! | `halo` | choice of the halo |
//! | `overview` | reduced image of the slide, and its tissue |
//! | `compute` | bands from the networks or the store, and the threads that use them |
//! | `consumers` | work of these threads on bands, strips and instances |
//! | `report` | summary of the finished slide |
//! | `strips` | pixel strips: bands with the slide's pixels, for colours and quality |
//! | `visit` | nuclei passed to a callback, without files |
//! | `store` | finished bands on disk, for resuming and shards |
//! | `shard` | division of slides and bands over machines |
//! | `batch` | several slides, one after another |

mod batch;
mod compute;
mod consumers;
mod halo;
mod overview;
mod plan;
mod report;
mod shard;
mod store;
mod strips;
mod visit;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use support::console::Progress;
use support::durable::FolderLock;
use support::{Result, bail};

use crate::model::Model;
use crate::network::Network;
use crate::output::summary::Proof;
#[cfg(doc)]
use crate::output::summary::Status;
use crate::output::writers::Source;
use crate::output::{ExtraOutput, Files, Outlines, SUMMARY, Summary, check};
use crate::timing::StageTimings;
use crate::tissue::region::Region;
pub use batch::{Batch, check_names, segment_all};
pub use halo::Halo;
use plan::Plan;
pub use shard::{Shard, ShardReport};
use slides::{Access, Slide};
use store::Store;
pub use visit::{Visit, visit};

/// Origin of the positions in output files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Upper left corner of level 0.
    #[default]
    Full,
    /// Upper left corner of the scanned part, as QuPath shows slides with that property.
    Bounds,
}

/// Part of a slide that is analysed.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Regions {
    /// The whole slide.
    #[default]
    All,
    /// Tissue: grid tiles with more than bare glass.
    Found,
    /// Grid tiles that a mask image over the whole slide, or a GeoJSON file in level-0 pixels, marks.
    Given(PathBuf),
    /// Grid tiles that a region in level-0 pixels touches.
    Inside(Region),
}

/// Options of a segmentation.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Parent folder of the slide's results folder.
    pub out: PathBuf,
    /// Microns per pixel of level 0; by default, from the slide's properties.
    pub mpp: Option<f64>,
    /// Context around each core.
    pub halo: Halo,
    /// Side of windows in pixels at the model's scale; by default, chosen from the halo.
    pub tile: Option<usize>,
    /// Number of windows per batch; 0 stands for 1.
    pub batch: usize,
    /// Number of threads that read windows; 0 stands for a number by the cores of the machine.
    pub readers: usize,
    /// OpenSlide library; by default, searched in the usual places.
    pub openslide: Option<PathBuf>,
    /// Program with the command `slide-server`, such as `infer`. OpenSlide then runs in child processes, so that a crash of its C code
    /// costs a tile and not the run; by default, it runs in this process.
    pub slide_server: Option<PathBuf>,
    /// Origin of positions.
    pub origin: Origin,
    /// Optional output files.
    pub extra: Vec<ExtraOutput>,
    /// Form of outlines in GeoJSON.
    pub outlines: Outlines,
    /// Part of the slide that is analysed.
    pub regions: Regions,
    /// True to resume from bands that a run with the same key stored; results of a finished slide are kept.
    pub resume: bool,
    /// A nonzero value, the number of a signal, ends the run with an error; finished bands are kept for `resume`.
    pub stop: Arc<AtomicUsize>,
    /// Device and runtime of the network, for the summary.
    pub device: String,
    /// Checks that the model passed on this device, for the summary.
    pub proof: Proof,
}

/// Opens a slide, finds its nuclei and writes the files of [`crate::output`] to `options.out/<slide's name>/`.
///
/// Networks run side by side; results do not depend on their number. If more than 5 % of the slide could not be read, the summary has the
/// status [`Status::Incomplete`].
///
/// # Errors
/// The first error of the slide, of a network or of a file; no file of the failed run then has its final name.
pub fn segment(
    slide: &Path,
    model: &Model,
    networks: &mut [Box<dyn Network>],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Summary> {
    segment_open(open(slide, options)?.as_ref(), model, networks, options, progress)
}

/// Segments an open slide as [`segment()`] does.
pub fn segment_open(
    slide: &dyn Slide,
    model: &Model,
    networks: &mut [Box<dyn Network>],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Summary> {
    let began = Instant::now();
    with_plan(slide, model, networks, options, |plan, source, store, networks| {
        let lock = FolderLock::exclusive(&plan.folder)?;
        if options.resume
            && let Some(summary) = finished_summary(plan)?
        {
            store.clear()?;
            return Ok(summary);
        }
        let was_stopped = store.exists();
        if !options.resume {
            store.clear()?;
        }
        let mut files = Files::new(&plan.folder, &lock, was_stopped)?;
        let computed = plan.compute(&model.card, networks, source, &mut files, store, progress)?;
        plan.slide.facts().contents.check()?;
        let summary = plan.summary(&model.card, source, computed, files.outputs()?, networks.len(), began);
        files.commit(&summary)?;
        store.clear()?;
        Ok(summary)
    })
}

/// Computes and stores the bands of one shard, except for bands that are already stored.
///
/// Once the bands of all shards are stored, [`segment()`] with `resume` writes the results.
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
        let _lock = FolderLock::shared(&plan.folder)?;
        if finished_summary(plan)?.is_some() {
            let bands = plan.grid.bands().len();
            return Ok(ShardReport { computed: 0, stored: bands, bands });
        }
        plan.compute_shard(networks, store, shard, progress)
    })
}

fn open(slide: &Path, options: &Options) -> Result<Box<dyn Slide>> {
    slides::open_with(slide, Access { library: options.openslide.as_deref(), program: options.slide_server.as_deref() })
}

/// Plans the segmentation and runs `work` with the plan.
fn with_plan<T>(
    slide: &dyn Slide,
    model: &Model,
    networks: &mut [Box<dyn Network>],
    options: &Options,
    work: impl FnOnce(&Plan<'_>, &Source<'_>, &Store, &mut [Box<dyn Network>]) -> Result<T>,
) -> Result<T> {
    let Some(network) = networks.first() else { bail!("segmenting {}: no network was given", slide.facts().path.display()) };
    let timings = StageTimings::default();
    let slide_sha256 = timings.hash.time(|| slide.sha256())?;
    let source = Source { slide_sha256: &slide_sha256, model_sha256: &model.sha256, class: model.class()? };
    let plan = Plan::new(slide, model, &source, network.windows(), options, &timings)?;
    let store = Store::new(&plan.folder, plan.key.clone());
    work(&plan, &source, &store, networks)
}

/// Returns the summary of an earlier run with the same key, if all its files are undamaged.
///
/// # Errors
/// Results of a run with another key, which a resumed run must not replace.
fn finished_summary(plan: &Plan<'_>) -> Result<Option<Summary>> {
    let path = plan.folder.join(SUMMARY);
    if !path.exists() {
        return Ok(None);
    }
    let summary = Summary::read(&path)?;
    if summary.key != plan.key {
        bail!("{}: these results are of another model, slide, program or of other options than this run", path.display();
            hint: "replace them by running without --resume, or choose another output folder");
    }
    let has_extra = plan.options.extra.iter().all(|extra| summary.outputs.iter().any(|output| output.name == extra.file()));
    Ok(match check(&plan.folder) {
        Ok(_) => has_extra.then_some(summary),
        Err(error) => {
            tracing::warn!("{error}; the slide is segmented again");
            None
        }
    })
}

/// Returns the results folder of a slide: its file name without the extension, in `out`.
///
/// # Errors
/// A path without a file name.
pub fn folder(slide: &Path, out: &Path) -> Result<PathBuf> {
    let Some(stem) = slide.file_stem() else { bail!("{} has no file name", slide.display()) };
    Ok(out.join(stem))
}
